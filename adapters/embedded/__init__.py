"""Private servers as child processes, for `holdfast up` and for tests.

PostgreSQL and NATS come from wheels, keep everything in one folder, can be reached
from this machine only (PostgreSQL: by our user only), and die with the process that
started them. `postgres.py` and `nats_server.py` have a context manager each and, for
those who kill and restart, the server as an object. Start with `nats_server.py`, the
shorter one; `process.py` is a child's life, `kernel.py` what Linux is asked for it.

Start servers from the main thread: Linux ends a child with the *thread* that forked
it. One process a folder: whoever still runs on it is taken for an orphan and ended.

Imports: the standard library. The wheels are looked up, never imported.
"""
