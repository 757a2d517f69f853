"""The running service: commands in, replies out, everything wired together.

`log` decides and stores, `endpoint` and `endpoints` put decisions on NATS
subjects, `reading` keeps the read models in step, `watcher` leaves nothing in
between. `serve`, `agents` and `up` choose the adapters; `running` runs them,
`cli` is the command line. Start with `service.log`.

Imports: everything else; nothing imports it.
"""
