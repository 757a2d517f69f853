"""Commands, decided: a look at aggregates, what is recorded, and one transaction.

A `command` looks, records and is answered; the live `log` decides it on what is in
`memory`, within the `room` that backends have, and stores it in a `batch`, where the
database is within `reach`. `reactions` are what follows from what was recorded,
`watching` lets others wait for that, `placing` finds a backend, `copying` a source.
Start with `service.deciding.log`.
"""
