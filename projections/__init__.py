"""What readers ask about, kept ready to answer.

`resources` is what anybody sees of an aggregate. Each read model is a question
with a table of its own: `volumes`, `snapshots`, `groups`, `group_snapshots`,
`attachment_status`, `capabilities`, `in_flight`, `exports`. `reading` makes a page of
the log into rows for all of them. Start with `projections.reading`.

Imports: `domain`; never an adapter.
"""
