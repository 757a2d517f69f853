"""Transition tables: the moves an aggregate allows, written as data.

A lifecycle is only ever asked. It says where a command would lead and changes
nothing; the event that follows records the answer, and applying the event is
the one place where a status changes. Replaying a log therefore never consults
a table, and a table may change without rewriting anybody's history.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Generic, TypeVar

from transitions import Machine

S = TypeVar("S", bound=StrEnum)
MOST_UNMET = 5  # that a refusal names; of more it tells the number


class Refused(Exception):
    """The lifecycle does not allow the command now.

    `about` is "volume ID" or the like where the command is about several.
    """

    about = ""

    def __init__(self, command: str, status: StrEnum, unmet: Sequence[str]) -> None:
        super().__init__(command, status, unmet)
        self.command = command.partition("/")[0]
        self.status = status
        more = len(unmet) - MOST_UNMET
        rest = [f"{more} more like these"] if more > 0 else []
        self.unmet = (*unmet[:MOST_UNMET], *rest)

    def __str__(self) -> str:
        because = f", not {' and not '.join(self.unmet)}" if self.unmet else ""
        command = f"{self.command} {self.about}".rstrip()
        return f"cannot {command} while {self.status}{because}"


@contextmanager
def about(noun: str, key: object) -> Iterator[None]:
    """Have a refusal say which of several it is about; what is within knows best."""
    try:
        yield
    except Refused as refused:
        refused.about = refused.about or f"{noun} {key}"
        raise


class Lifecycle(Generic[S]):
    """The statuses of one kind of aggregate and the moves between them.

    A row is `[command, from, to]` or `[command, from, to, guard]`; `from` may
    be a list, `to` may be "=", no move. Rows are tried in order; a guard names a
    property. Variants of a command are written `command/variant`.
    """

    def __init__(self, statuses: type[S], rows: Sequence[list[Any]]) -> None:
        # No model is attached: the machine would keep every aggregate alive
        # and hang bound methods on it. It reads the rows, draws the diagrams
        # and tells us when a row names a status that does not exist.
        self.machine = Machine(
            model=None,
            states=statuses,
            initial=None,
            transitions=rows,
            auto_transitions=False,
            model_attribute="status",
        )
        # Asking the machine costs 7 us of callbacks that nobody registered,
        # asking the same rows in a dictionary 0.3 us.
        self.moves: dict[tuple[str, S], list[tuple[tuple[str, ...], S]]] = {
            (command, statuses[source]): [
                (tuple(str(g.func) for g in row.conditions), statuses[str(row.dest)])
                for row in transitions
            ]
            for command, event in self.machine.events.items()
            for source, transitions in event.transitions.items()
        }

    def after(self, command: str, aggregate: Any) -> S:
        """Return the status `command` leads to, or raise `Refused`."""
        unmet: list[str] = []
        for guards, to in self.moves.get((command, aggregate.status), ()):
            failed = [guard for guard in guards if not getattr(aggregate, guard)]
            if not failed:
                return to
            unmet.extend(failed)
        raise Refused(command, aggregate.status, unmet)

    @property
    def commands(self) -> frozenset[str]:
        """The commands the table knows."""
        return frozenset(self.machine.events)
