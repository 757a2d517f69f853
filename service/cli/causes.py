"""A tree of causes, drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from service.cli.show import Table, brief, changes, words

HEADINGS = ("WHAT", "ID", "TIME", "WHO", "DETAILS")
EXPLAINED = "◂"


class Branch(NamedTuple):
    """How the lines below something begin: its own, and those of what it has."""

    own: str = ""
    below: str = ""

    def of(self, *, last: bool) -> Branch:
        """Return how the next one below begins."""
        own, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
        return Branch(self.below + own, self.below + below)


def tree(told: dict[str, Any]) -> Table:
    """Show a request and what followed, and what became of what it names."""
    asked = told["request"]
    key = words(asked["request_id"])
    root = ["request", key, asked["at"], words(asked["actor"]), words(asked["reason"])]
    happened = grown(told["led_to"], Branch(), told["position"])
    rows = [root, *happened, *map(related, told["related"])]
    note = "" if told["whole"] else "there is more than fits into one answer"
    return Table(rows, HEADINGS, note, beneath=("DETAILS",))


def grown(
    nodes: list[dict[str, Any]], above: Branch, explained: int
) -> Iterator[list[str]]:
    """Yield the rows of events, each with what was run for it and what followed."""
    for number, node in enumerate(nodes, 1):
        branch = above.of(last=number == len(nodes))
        yield event(node, branch.own, explained)
        for ran in node["data"].get("commands", ()):
            bar = "│  " if node["led_to"] else "   "
            yield [f"{branch.below}{bar}$", "", "", "", command(ran)]
        yield from grown(node["led_to"], branch, explained)


def event(node: dict[str, Any], prefix: str, explained: int) -> list[str]:
    """Return the row of an event."""
    mark = f" {EXPLAINED}" if node["position"] == explained else ""
    what = f"{prefix}{node['event']}{mark}"
    status = {"status": {"before": None, "after": node["data"]["status"]}}
    details = " ".join(changes(status, node["data"]))
    return [what, brief(node["id"]), node["at"], node["recorded_by"], details]


def command(ran: dict[str, Any]) -> str:
    """Return what was run, how it ended and how long it took."""
    status = ran.get("exit_status")
    ended = "" if status is None else f"exit {status}, "
    return f"{ran['command']} ({ended}{ran['milliseconds']:g} ms)"


def related(fate: dict[str, Any]) -> list[str]:
    """Return the row of what an event names: how it was then, and became."""
    last = fate["because"]
    became = fate["now"] if fate["then"] == fate["now"] else ""
    moved = became or f"{fate['then'] or 'not there'} then, {fate['now']} now"
    why = " ".join(filter(None, [moved, words(last["reason"])]))
    who = words(last["actor"]) or last["recorded_by"]
    return [f"see {last['event']}", brief(fate["id"]), last["at"], who, why]
