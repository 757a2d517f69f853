"""Commands, decided: a look at aggregates, what is recorded, and one transaction.

A `command` looks, records and is answered; the live `log` decides and stores it, within
the `room` that backends have. `reactions` are what follows from what was recorded,
`placing` finds a backend, `copying` a source. Start with `service.deciding.log`.
"""
