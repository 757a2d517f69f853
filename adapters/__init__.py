"""How decisions are carried out: drivers, the log's database, the broker.

One folder per technology, each implementing ports that `domain.ports` or a
projection declares; `contracts` is what every driver must pass. Start with
`adapters.file.driver`.

Imports: `domain`, `projections`, and the technology a folder is named after.
"""
