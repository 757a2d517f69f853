"""Logs in files: what an auditor keeps and takes elsewhere.

A file is JSON lines in one frame of zstd: a head, the checkpoints, the events in
order, and an end that says how many there were. Any zstd and any JSON reader opens
it; ours takes nothing in it on trust. Start with `reading`.

Imports: `domain`, `projections`, zstd.
"""
