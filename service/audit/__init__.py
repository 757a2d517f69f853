"""What auditors ask of the log: histories, causes, the past, proofs, exports and drift.

Start with `history`, one aggregate's events for people, and `past`, folds of the log up
to a moment. `causes` is the tree behind it, `checkpointing` and `proving` are what can
be shown to others, `exporting` and `replaying` a log that leaves, `drifting` and
`overdue` what does not look as the log says.
"""
