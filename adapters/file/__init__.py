"""The file driver: volumes as sparse files in one folder.

Start with `driver`, which is the port. `volumes` knows what lies on the disk and
how it gets there whole, `holders` who has a volume open, `failures` how trouble
is said to an operator. The suite every driver passes is `adapters.contracts`.

Imports: `domain`, the standard library and `msgspec`. Linux only: it asks for
leases and reads /proc and /sys.
"""
