"""The lifecycles as pictures, drawn from the tables that decide.

    python -m service.documents.lifecycles > docs/lifecycles.md

They are mermaid text, which GitHub draws.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from types import ModuleType
from typing import Any, NamedTuple

from domain import (
    attachment,
    backend,
    group,
    group_snapshot,
    snapshot,
    volume,
    volume_status,
)
from domain.lifecycle import Lifecycle

TABLES: dict[ModuleType, Lifecycle[Any]] = {
    volume: volume_status.LIFECYCLE,
    attachment: attachment.ATTACHMENT,
    snapshot: snapshot.LIFECYCLE,
    group: group.LIFECYCLE,
    group_snapshot: group_snapshot.LIFECYCLE,
    backend: backend.ADMINISTRATION,
}
SHOWN: dict[ModuleType, dict[Any, Any]] = {volume: volume_status.SHOWN}
REST = "at rest"
ELSE = "else"

HEAD = """\
# Lifecycles

What each resource may go through, drawn from the tables that decide: each module of
`domain/` begins with its own. Written by `just generate`.

An arrow is a command, or what came of one; in brackets stands what must be so as well.
A command that neither an arrow nor a line of the table below it has is refused.
`delete/force` is `delete` under other circumstances. A volume that is at rest shows the
strongest of its attachments.
"""


class Move(NamedTuple):
    """A row of a table, from one status."""

    source: str
    target: str
    command: str
    only_if: str

    @property
    def label(self) -> str:
        """What an arrow says."""
        return f"{self.command} [{self.only_if}]" if self.only_if else self.command


def text() -> str:
    """Return the page as it is committed."""
    return "\n".join([HEAD, *map(chapter, TABLES)])


def chapter(module: ModuleType) -> str:
    """Return what there is to say of one resource."""
    moves = sorted(moves_of(module), key=lambda move: move[:2])
    shown = {str(held): str(seen) for held, seen in SHOWN.get(module, {}).items()}
    name = module.__name__.rpartition(".")[2].replace("_", " ")
    parts = [
        f"## {name.capitalize()}",
        inspect.cleandoc(str(module.__doc__)),
        picture(moves, set(shown.values())),
        table(("command", "in", "only if"), stays(moves)),
        table(("condition", "what it means"), meanings(module, moves)),
        table(
            ("strongest of the attachments", "what a volume at rest shows"),
            shown.items(),
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def moves_of(module: ModuleType) -> Iterator[Move]:
    """Yield the moves that can be made: the rows up to the first that asks nothing."""
    rest = SHOWN.get(module, {}).values()
    for (command, source), rows in TABLES[module].moves.items():
        for number, (guards, target) in enumerate(rows):
            at_rest = source in rest and target in rest
            to = source if at_rest else REST if target in rest else target
            only_if = " and ".join(guards).replace("_", " ")
            yield Move(source, to, command, only_if or (ELSE if number else ""))
            if not guards:
                break


def picture(moves: Iterable[Move], rest: set[str]) -> str:
    """Return the moves to another status as mermaid draws them."""
    inside = [f"        {declared(status)}" for status in sorted(rest)]
    whole = [f"    {declared(REST)} {{", *inside, "    }"] if rest else []
    arrows = []
    for (source, target), same in groupby(moves, key=lambda move: move[:2]):
        if source != target:
            labels = ", ".join(each.label for each in same)
            arrows.append(f"    {plain(source)} --> {plain(target)}: {labels}")
    return "\n".join(["```mermaid", "stateDiagram-v2", *whole, *arrows, "```"])


def stays(moves: Iterable[Move]) -> Iterator[tuple[str, ...]]:
    """Yield the commands that leave the status as it is, in which, and only if what."""
    found: dict[tuple[str, str], list[str]] = {}
    for move in moves:
        if move.source == move.target:
            found.setdefault((move.command, move.only_if), []).append(move.source)
    for (command, only_if), statuses in sorted(found.items()):
        yield command, ", ".join(statuses), only_if


def meanings(module: ModuleType, moves: Iterable[Move]) -> Iterator[tuple[str, ...]]:
    """Yield what the conditions mean, where the aggregate says so."""
    asked = {move.only_if for move in moves} - {"", ELSE}
    kinds = [each for each in vars(module).values() if isinstance(each, type)]
    for condition in sorted(asked):
        found = (getattr(kind, condition.replace(" ", "_"), None) for kind in kinds)
        guard: Any = next(filter(None, found), None)
        if guard:
            yield condition, inspect.cleandoc(guard.__doc__)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table, or nothing where it has no rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return (
        "\n".join([f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *lines])
        if lines
        else ""
    )


def plain(status: str) -> str:
    """Return a status as a name that mermaid takes."""
    return status.replace("-", "_").replace(" ", "_")


def declared(status: str) -> str:
    """Return what tells mermaid of a status, and what that is called."""
    name = plain(status)
    return name if name == status else f'state "{status}" as {name}'


if __name__ == "__main__":
    sys.stdout.write(text())
