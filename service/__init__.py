"""The running service: commands in, replies out, everything wired together.

`deciding` is where commands become events, `messages` what they may say, `endpoints`
their NATS subjects; `reading` answers lists. `keeping` is the process beside, `audit`
what is asked of the whole log, `documents` what is made of the code. `serve`, `agents`
and `up` choose the adapters, `holding` tells who may be an agent here; `running` runs
them, `cli` is the command line. `telemetry` tells operators how it is. Start with
`service.deciding.log`.

Imports: everything else; nothing imports it.
"""
