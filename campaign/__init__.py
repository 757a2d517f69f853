"""The campaign: everything is killed at any moment, then all accounts are compared.

`python -m campaign` runs rounds. Start with `rounds`: a round is a load (`load`,
whose callers `witness` every answer) and what befalls the service meanwhile
(`strikes`, some at the `points` of its programs); then what is `seen` everywhere
and on the `storage` has to agree (`checks`). `cuts` does so to a whole `machine`
with real LVM, whose power is cut. `breaks` are mistakes made on purpose, each of
which has to be found. `docs/reliability.md` has what was.

Imports: everything but features; nothing imports it.
"""
