"""Secrets that can be recognised, and every place where one could have been left."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event as Flag
from threading import Thread

import psycopg
from psycopg import sql

from adapters.embedded.table import PROC, processes

Place = tuple[str, bytes]
CHUNK = 1 << 20
BEFORE = (0, 2, 3)  # characters of base64 that depend on so many bytes before


def forms(secret: bytes) -> set[bytes]:
    """Return a secret as it could have been written down: plain, hex, base64."""
    found = {
        secret,
        secret.upper(),
        secret.hex().encode(),
        secret.hex().upper().encode(),
    }
    for offset, first in enumerate(BEFORE):
        whole = (offset + len(secret)) * 8 // 6
        inside = b64encode(bytes(offset) + secret)[first:whole]
        found |= {inside, inside.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


@dataclass
class Secrets:
    """What nobody may keep, by name."""

    known: dict[str, bytes] = field(default_factory=dict)

    def learn(self, name: str, secret: str | bytes) -> None:
        """Look for this one, too."""
        self.known[name] = secret if isinstance(secret, bytes) else secret.encode()

    def told_in(self, places: Iterable[Place], but: Collection[str] = ()) -> list[str]:
        """Return which secret is in which place, those of these names left out."""
        looked_for = {
            name: forms(secret)
            for name, secret in self.known.items()
            if name not in but
        }
        return sorted(
            {
                f"{name} in {where}"
                for where, what in places
                for name, written in looked_for.items()
                if any(form in what for form in written)
            }
        )


def files(*folders: Path) -> Iterator[Place]:
    """Yield what is in every file, without the holes of sparse ones."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                with suppress(FileNotFoundError):
                    yield from ((str(path), part) for part in extents(path))


def extents(path: Path) -> Iterator[bytes]:
    """Yield the parts of a file that are no hole."""
    with path.open("rb") as file:
        size, start = os.fstat(file.fileno()).st_size, 0
        while start < size:
            try:
                start = os.lseek(file.fileno(), start, os.SEEK_DATA)
            except OSError:  # ENXIO: there is no more
                return
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            yield os.pread(file.fileno(), end - start, start)
            start = end


def tables(server: Mapping[str, str], database: str) -> Iterator[Place]:
    """Yield every column of every row of every table, as bytes that are nowhere packed.

    Also of PostgreSQL's own tables, and of every schema.
    """
    everywhere = (
        "SELECT relnamespace::regnamespace::text, relname FROM pg_class "
        "WHERE relkind IN ('r', 'm', 'p') ORDER BY 1, 2"
    )
    with psycopg.connect(
        host=server["POSTGRES_HOST"],
        port=server["POSTGRES_PORT"],
        user="postgres",
        dbname=database,
    ) as connection:
        for schema, name in connection.execute(everywhere).fetchall():
            form = "text" if schema == "pg_catalog" else "binary"
            copied = sql.SQL(f"COPY (SELECT * FROM {{}}) TO STDOUT (FORMAT {form})")
            table = sql.Identifier(schema, name)
            with connection.cursor().copy(copied.format(table)) as rows:
                yield f"table {schema}.{name}", b"".join(bytes(row) for row in rows)


@dataclass
class Seen:
    """The processes that were started below this one while somebody looked."""

    # What each was called with, and with which environment; it may become another.
    programs: dict[int, set[tuple[bytes, bytes]]] = field(default_factory=dict)

    def look(self) -> None:
        """Note all that there are now."""
        ours = {os.getpid(), *self.programs}
        for each in sorted(processes(), key=lambda process: process.pid):
            if each.parent in ours or each.pid in ours:
                ours.add(each.pid)
                told = PROC / str(each.pid)
                with suppress(OSError):
                    what = told.joinpath("cmdline"), told.joinpath("environ")
                    command, environment = (path.read_bytes() for path in what)
                    found = self.programs.setdefault(each.pid, set())
                    found.add((command, environment))

    def command_lines(self) -> Iterator[Place]:
        """Yield what each was called with."""
        for pid, programs in self.programs.items():
            for command, _ in programs:
                yield f"the command line of {pid}: {shown(command)}", command

    def environs(self, but: Collection[int] = ()) -> Iterator[Place]:
        """Yield the environment of each, but for some programs and forks of them.

        What is about to become another program still has the environment of the first.
        """
        given = {command for pid in but for command, _ in self.programs.get(pid, ())}
        for programs in self.programs.values():
            for command, environment in programs:
                if command not in given:
                    yield f"the environment of {shown(command)}", environment


def shown(command: bytes) -> str:
    return command.replace(b"\0", b" ").decode()[:80]


@contextmanager
def seen(every: float) -> Iterator[Seen]:
    """Look at the processes below this one until left, so many seconds apart."""
    told, over = Seen(), Flag()

    def look() -> None:
        while not over.wait(every):
            told.look()

    looking = Thread(target=look, daemon=True)
    looking.start()
    try:
        yield told
    finally:
        over.set()
        looking.join()
