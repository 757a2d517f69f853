"""The log on JetStream: publishing it, and feeding agents from it.

`publisher` puts every event on the stream. `agent` does what command events
ask, each a `piece` of work, by the table in `work`, through its `access` to the storage
under a `lease`; `measuring` tells how that is, `sweeping` lets it converge to the log;
`reporting` and `telling` bring what came of it to the service. `signing` shows that a
report comes from an agent, `wire` sends headers quickly. Start with `agent`.

Imports: `domain`, `adapters.postgres` for the log to publish, NATS.
"""
