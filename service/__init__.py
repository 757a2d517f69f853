"""The running service: commands in, replies out, everything wired together.

A `command` looks, records and is answered; `log` decides and stores it; `endpoint`
and `endpoints` put decisions on NATS subjects, `reading` answers lists. `keeper` is
the process beside, which publishes, keeps the read models (`projecting`), leaves
nothing in between (`watcher`) and tells how far behind the log they are (`standing`,
`telling`). `serve`, `agents` and `up` choose the adapters, `holding` tells who may be
an agent here; `running` runs them, `cli` is the command line. `telemetry` tells
operators how it is. Start with `service.log`.

Imports: everything else; nothing imports it.
"""
