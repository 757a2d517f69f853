"""The file driver: volumes as sparse files in one folder.

Start with `driver`, which is the port. `volumes` knows what lies on the disk and
how it gets there whole, `naming` what the names there say, `failures` how trouble
is said to an operator. The suite every driver passes is `adapters.contracts`, who
has a volume open is told by `adapters.holders`.

Imports: `domain`, the standard library and `msgspec`. Linux only.
"""
