"""Documents that are made of the code, one module each: `just generate`.

`events` and `lifecycles` are pages of `docs/`; `recording` finds out who records what.
`asyncapi` makes the contract. A test holds each committed one to the code.
"""
