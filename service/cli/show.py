"""Answers as tables: rich ones on a terminal, plain unwrapped lines elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import compress
from operator import not_
from typing import Any

from service.messages.text import JOINERS

Value = Any


@dataclass(frozen=True)
class Table:
    """Rows below headings; no headings make it one thing's fields.

    Columns that are named in `beneath` go below their row where it is too long.
    """

    rows: Sequence[Sequence[str]]
    headings: Sequence[str] = ()
    note: str = ""
    beneath: Sequence[str] = ()


View = Callable[[dict[str, Any]], Table]

# fmt: off
# Of a list: the heading, and where in an item the value stands.
VOLUMES = {
    "ID": "id", "NAME": "name", "GIB": "size_gib", "STATUS": "status",
    "BACKEND": "backend", "ATTACHMENTS": "attachments",
}
MANAGEABLE = {
    "REFERENCE": "reference.source-name", "GIB": "size_gib",
    "SAFE": "safe_to_manage", "VOLUME": "id", "WHY NOT": "reason_not_safe",
}
SNAPSHOTS = {
    "ID": "id", "NAME": "name", "VOLUME": "volume_id", "GIB": "size_gib",
    "STATUS": "status",
}
# The snapshots of one volume, oldest first.
CHAIN = {
    "ID": "id", "NAME": "name", "GIB": "size_gib", "STATUS": "status",
    "TAKEN AT": "taken_at", "AFTER": "taken_after", "VOLUMES MADE OF IT": "volumes",
}
MANAGEABLE_SNAPSHOTS = {
    "REFERENCE": "reference.source-name", "VOLUME": "source_reference.id",
    "GIB": "size_gib", "SAFE": "safe_to_manage", "SNAPSHOT": "id",
    "WHY NOT": "reason_not_safe",
}
GROUPS = {
    "ID": "id", "NAME": "name", "STATUS": "status", "BACKEND": "backend",
    "CONSISTENT": "consistent", "VOLUMES": "volumes",
}
GROUP_SNAPSHOTS = {
    "ID": "id", "NAME": "name", "GROUP": "group_id", "STATUS": "status",
    "CONSISTENCY": "consistency", "SNAPSHOTS": "snapshots",
}
ATTACHMENTS = {
    "ID": "id", "VOLUME": "volume_id", "INSTANCE": "instance", "HOST": "host",
    "MODE": "mode", "STATUS": "status",
}
BACKENDS = {
    "NAME": "name", "HOST": "host", "STATE": "state", "WORKING": "working",
    "DISABLED": "disabled", "FREE GIB": "capabilities.free_capacity_gb",
    "VOLUMES": "capabilities.total_volumes",
}
DRIFT = {
    "DRIFT": "drift", "OF": "noun", "ID OR NAME": "subject",
    "EXPECTED": "expected", "FOUND": "found", "EXPLAINED BY": "explained_by.event",
    "AT POSITION": "explained_by.position", "SINCE": "since",
}
STEPS = {
    "DRIFT": "drift", "OF": "noun", "ID OR NAME": "subject", "FOUND": "found",
    "REMEDY": "remedy", "UNDER WAY": "under_way", "WHAT THAT IS": "advice",
}
PROOF = {"FROM": "from", "TO": "to", "HASH": "hash"}
PROJECTIONS = {
    "NAME": "name", "STATUS": "status", "BEHIND": "behind",
    "SECONDS": "lag_seconds", "PROGRESS": "progress", "ERROR": "error.message",
}
# What is listed as it was.
LISTS = {
    "volume": VOLUMES, "attachment": ATTACHMENTS, "snapshot": SNAPSHOTS,
    "group": GROUPS, "group_snapshot": GROUP_SNAPSHOTS, "backend": BACKENDS,
}
# fmt: on
# Fields of an event's data that only tell how it hangs together.
INTERNAL = {"status", "intent", "volume_id", "commands", "considered"}
# Fields of a resource that say again what an event says.
UNTOLD = {"id", "volume_id", "created_at"}
LABEL = "metadata."  # what the field of one begins with
ID_LENGTH, ID_DASHES = 36, 4
SHORT = 8  # characters of an id that tell it from others, as a rule
NARROW = 6  # characters of a column below which nobody can read what is folded
GAP = 2  # blanks between two columns


def listed(columns: Mapping[str, str]) -> View:
    """Return the view of a list with these columns."""

    def view(told: dict[str, Any]) -> Table:
        flat = [dict(flattened(item)) for item in told["items"]]
        rows = [[words(item.get(key)) for key in columns.values()] for item in flat]
        return Table(rows, list(columns), more(told))

    return view


def more(told: dict[str, Any]) -> str:
    """Tell how a list that is not whole goes on."""
    return f"there is more: --cursor {told['next']}" if told["next"] else ""


def steps(told: dict[str, Any]) -> Table:
    """Show what is to be done about what differs of a backend."""
    shown = listed(STEPS)({"items": told["steps"], "next": None})
    failed = told.get("error") or {}
    return replace(shown, note=failed.get("message", ""))


def drift(told: dict[str, Any]) -> Table:
    """Show what differs of a backend, and when and how far that is known."""
    shown = listed(DRIFT)(told)
    looked = told["surveyed_at"] and f"last looked at {told['surveyed_at']}"
    notes = looked, told["not_surveyed"], shown.note
    return replace(shown, note="; ".join(filter(None, notes)))


def fields(told: dict[str, Any]) -> Table:
    """Show one thing: what it says of itself and is not empty, and all its labels."""
    pairs = [(words(key), words(value)) for key, value in flattened(told)]
    return Table([[key, said] for key, said in pairs if said or key.startswith(LABEL)])


def history(told: dict[str, Any]) -> Table:
    """Show what happened, with what each event changed."""
    rows = [
        [words(item[key]) for key in HISTORY.values()]
        + [" ".join(changes(item["changed"], item["data"]))]
        for item in told["items"]
    ]
    return Table(rows, [*HISTORY, CHANGED], more(told), beneath=("REASON", CHANGED))


def listed_at(told: dict[str, Any]) -> Table:
    """Show a list as it was."""
    return listed(LISTS[told["noun"]])(told)


def differences(told: dict[str, Any]) -> Table:
    """Show what is different of each resource."""
    rows = [
        [
            spoken(item["noun"]),
            words(item["id"]),
            item["change"],
            " ".join(changes(item["fields"], {})),
        ]
        for item in told["items"]
    ]
    return Table(rows, [*DIFFERENCES, CHANGED], more(told), beneath=(CHANGED,))


def spoken(noun: str) -> str:
    """Return a noun as the command line has it."""
    return noun.replace("_", "-")


DIFFERENCES = ("NOUN", "ID", "CHANGE")
HISTORY = {
    "TIME": "at",
    "EVENT": "event",
    "ACTOR": "actor",
    "REASON": "reason",
    "RECORDED BY": "recorded_by",
}
CHANGED = "WHAT CHANGED"


def changes(changed: dict[str, Any], data: dict[str, Any]) -> Iterator[str]:
    """Tell what an event changed of what can be seen, and what else it says."""
    for name in sorted(changed, key=lambda name: name != "status"):
        if name not in UNTOLD:
            values = changed[name]
            yield change(name, values["before"], values["after"])
    for key, value in flattened(data):
        name, said = key.rpartition(".")[2], brief(value)
        told = {name, key.partition(".")[0]} & (INTERNAL | changed.keys())
        if said and not told:
            yield f"{name}={said}"


def change(name: str, before: Value, after: Value) -> str:
    """Tell how a field has changed; a status goes without its name."""
    had, has = brief(before), brief(after)
    moved = f"{had} → {has or 'none'}" if had else has
    if name == "status":
        return moved
    return f"{name} {moved}" if had else f"{name}={moved}"


def brief(value: Value) -> str:
    """Return a value in few words: its id begins so, its fields have these values."""
    if isinstance(value, dict):
        fields = ((key, brief(each)) for key, each in value.items())
        return ",".join(f"{key}:{said}" for key, said in fields if said)
    if isinstance(value, list):
        return ",".join(map(brief, value))
    said = words(value)
    return said[:SHORT] if is_id(said) else said


def is_id(text: str) -> bool:
    """Tell whether the text looks like one of our ids."""
    return len(text) == ID_LENGTH and text.count("-") == ID_DASHES


def flattened(told: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Value]]:
    """Yield the fields, those of an inner object by their dotted name."""
    for key, value in told.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def words(value: Value) -> str:
    """Return a value as people write it; nothing for one that is absent."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(words, value))
    return "" if value is None else printable(" ".join(str(value).split()))


def printable(text: str) -> str:
    """Return a text that a terminal shows, and does nothing else with."""
    return "".join(c if c.isprintable() or c in JOINERS else "?" for c in text)


def as_json(told: dict[str, Any]) -> None:
    """Print the answer as one JSON document."""
    print(json.dumps(told))


def for_people(table: Table) -> None:
    """Print a table; what is only a hint goes to standard error."""
    if sys.stdout.isatty():
        richly(table)
    else:
        sys.stdout.writelines(f"{line}\n" for line in plainly(table))
    if table.note:
        print(table.note, file=sys.stderr)


def plainly(table: Table) -> Iterable[str]:
    """Return the lines of a table, aligned and never wrapped."""
    rows = [table.headings, *table.rows] if table.headings else table.rows
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join(cells).rstrip()


def richly(table: Table) -> None:
    """Print a table as wide as the terminal, its headings bold."""
    # Here, for a pipe does without it, and it takes as long as the whole question.
    from rich.console import Console  # noqa: PLC0415

    console = Console(markup=False, emoji=False, highlight=False)
    longest = max(map(len, plainly(table)), default=0)
    drawn = columned
    if longest > console.width and (table.beneath or least(table) > console.width):
        drawn = stacked
    for part, style in drawn(table):
        console.print(part, style=style, soft_wrap=isinstance(part, str))


def least(table: Table) -> int:
    """Return how wide a terminal has to be for all columns of a table to be read."""
    if not table.headings:
        return 0
    columns = zip(table.headings, *table.rows, strict=True)
    first, *others = (max(map(len, column)) for column in columns)
    folded = sum(min(NARROW, width) + GAP for width in others)
    return (first if first <= ID_LENGTH else NARROW) + folded


def columned(table: Table) -> Iterator[tuple[Any, str]]:
    """Draw a table whose cells fold where they are too long."""
    from rich.table import Table as Rich  # noqa: PLC0415 - as in `richly`

    drawn = Rich(box=None, pad_edge=False, show_header=bool(table.headings))
    first = max((len(row[0]) for row in table.rows), default=0)
    for number, heading in enumerate(table.headings or ("", "")):
        whole = number == 0 and first <= ID_LENGTH
        style = "" if table.headings or number else "bold"
        drawn.add_column(heading, overflow="fold", no_wrap=whole, style=style)
    for row in table.rows:
        drawn.add_row(*row)
    yield drawn, ""


def stacked(table: Table) -> Iterator[tuple[Any, str]]:
    """Draw a table in unfolded lines, with some of its columns beneath each row."""
    from rich.padding import Padding  # noqa: PLC0415 - as in `richly`

    lower = [heading in table.beneath for heading in table.headings]
    upper = [
        list(compress(row, map(not_, lower))) for row in (table.headings, *table.rows)
    ]
    heading, *lines = plainly(Table(upper))
    yield heading, "bold"
    for line, row in zip(lines, table.rows, strict=True):
        yield line, ""
        if said := "  ".join(filter(None, compress(row, lower))):
            yield Padding(said, (0, 0, 0, 4)), "dim"


def note(told: dict[str, Any]) -> Table:
    """Show a signed note as it is, and beside it the key that it is checked with."""
    return Table([[line] for line in told["note"].splitlines()], note=told["key"])


def proof(told: dict[str, Any]) -> Table:
    """Show whose hashes a proof has, and the root hashes that they lead to."""
    rows = [[words(step[key]) for key in PROOF.values()] for step in told["path"]]
    roots = {
        name: told[name] for name in ("root", "from_root", "to_root") if name in told
    }
    said = ", ".join(f"{name.replace('_', ' ')} {root}" for name, root in roots.items())
    return Table(rows, list(PROOF), f"proven: {said}")


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Draw on standard error how much is done; yield what tells of how much."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console  # noqa: PLC0415 - as in `richly`
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, whole: progress.update(task, completed=done, total=whole)


@contextmanager
def spinner() -> Iterator[Callable[[int], None] | None]:
    """Turn on standard error; yield what tells the percent, if it is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415

    waiting = "waiting for the backend"
    with Console(stderr=True).status(waiting) as status:
        yield lambda percent: status.update(f"{waiting}: {percent} %")
