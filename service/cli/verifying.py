"""Verifying the log in stretches, and against checkpoints that were kept elsewhere.

Whether what the service tells of a checkpoint is true is worked out here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from time import sleep
from typing import Any

from domain.checkpoint import Checkpoint, all_opened
from domain.note import NotAKey, NotANote, NotSigned, Verifier
from domain.tree import is_consistent, is_included, leaf
from service.cli.client import Ended, Misused, Problem, Service

STRETCH = 50_000  # events, in some tenths of a second
MOST_TRIES = 15
AGAIN = 1.0  # seconds from one to the next
ON_THE_WAY = {"newest", "before"}  # what is told only for the next stretch
TELL = "%Y-%m-%dT%H:%M:%SZ"

Reached = Callable[[int, int], None]


def checkpoints_in(path: Path, key: str) -> list[Checkpoint]:
    """Return what a file has, all of it signed with that key, the oldest first."""
    try:
        found = all_opened(path.read_text("utf-8"), Verifier.read(key))
    except OSError as error:
        raise Misused(f"{path}: {error.strerror}") from error
    except NotAKey as wrong:
        raise Misused(str(wrong)) from wrong
    except (NotANote, NotSigned, UnicodeDecodeError) as wrong:
        raise Ended(f"{path}: {wrong}") from wrong
    return sorted(found, key=lambda checkpoint: checkpoint.size)


def verify(
    service: Service,
    first: int,
    last: int | None,
    known: list[Checkpoint],
    reached: Reached,
) -> dict[str, Any]:
    """Return what `audit.verify` would of it all, and how many checkpoints agree.

    Those that sign more than is verified are named: nobody has looked at them.
    """
    told = links(service, first, last, known, reached)
    told = {name: value for name, value in told.items() if name not in ON_THE_WAY}
    if told["intact"] and known:
        signed = [each for each in known if last is None or each.size <= last]
        told |= {"checkpoints": len(signed)} | passed_over(known[len(signed) :], last)
        told |= roots(service, signed)
    return told


def links(
    service: Service,
    first: int,
    last: int | None,
    known: list[Checkpoint],
    reached: Reached,
) -> dict[str, Any]:
    """Verify stretch by stretch, with a look at each checkpoint on the way."""
    stops = iter([each for each in known if each.size >= first])
    stop, chain, events, position, agreed = next(stops, None), "", 0, first, first - 1
    end = last
    while True:
        limit = min(STRETCH, stop.size - position + 1) if stop else STRETCH
        asked = {"from": position, "to": last, "limit": limit}
        told = patiently(service, "verify", **asked)
        end = end or max([told["newest"], *(each.size for each in known)])
        events += told["events"]
        whole = told | {"from": first, "events": events}
        if not told["intact"]:
            return whole
        if chain and told["before"] != chain:
            return whole | bad(position - 1, "it was changed meanwhile")
        while stop and stop.size == told["to"]:
            if stop.link.hex() != told["chain"]:
                return whole | bad(agreed + 1, rewritten(stop, agreed))
            agreed, stop = stop.size, next(stops, None)
        reached(told["to"], end)
        if told["to"] >= end:
            return whole
        if told["to"] >= told["newest"]:
            return whole | bad(told["newest"] + 1, missing(told["newest"], known))
        chain, position = told["chain"], told["to"] + 1


def roots(service: Service, signed: list[Checkpoint]) -> dict[str, Any]:
    """Have it proven that each checkpoint's log is the beginning of the last one's."""
    for each in signed:
        newest = signed[-1]
        asked = {"from": each.size, "to": newest.size}
        told = patiently(service, "prove_consistency", **asked)
        sizes, roots = (each.size, newest.size), (each.root, newest.root)
        proven = is_consistent(*sizes, path_in(told), *roots)
        if not proven or told["to_root"] != newest.root.hex():
            return bad(1, f"its root hash is not what was signed {on(each)}")
    return {}


def included(service: Service, position: int, size: int | None) -> dict[str, Any]:
    """Return what proves that an event is in the log, once that is checked."""
    told = patiently(service, "prove_inclusion", position=position, size=size)
    row, index, of = bytes.fromhex(told["row"]), told["position"] - 1, told["size"]
    root = bytes.fromhex(told["root"])
    if not is_included(leaf(row), index, of, path_in(told), root):
        raise Ended(f"that does not prove that position {position} is in the log")
    return told


def grown(service: Service, first: int, last: int | None) -> dict[str, Any]:
    """Return what proves that the log only grew, once that is checked."""
    told = patiently(service, "prove_consistency", **{"from": first, "to": last})
    sizes = told["from"], told["to"]
    before, after = (bytes.fromhex(told[f"{end}_root"]) for end in ("from", "to"))
    if not is_consistent(*sizes, path_in(told), before, after):
        raise Ended(f"that does not prove that the log only grew since {first}")
    return told


def patiently(service: Service, what: str, **asked: int | None) -> dict[str, Any]:
    """Ask again while others verify, or the log is read for the first proof."""
    for _ in range(MOST_TRIES - 1):
        try:
            return service.look(f"audit.{what}", **asked)
        except Problem as problem:
            if problem.told.get("type") != "unavailable":
                raise
        sleep(AGAIN)
    return service.look(f"audit.{what}", **asked)


def path_in(told: dict[str, Any]) -> list[bytes]:
    """Return the hashes of a proof."""
    return [bytes.fromhex(step["hash"]) for step in told["path"]]


def bad(position: int, detail: str) -> dict[str, Any]:
    """Return what is told of a log that is not what it was."""
    return {"intact": False, "first_bad": position, "detail": detail}


def passed_over(beyond: list[Checkpoint], last: int | None) -> dict[str, Any]:
    """Return what is told of checkpoints that nobody has looked at, if any."""
    if not beyond:
        return {}
    named = [f"{each.size} {on(each)}" for each in beyond]
    why = f"they sign more than the {last} events up to which the log was verified"
    return {"not_looked_at": {"checkpoints": named, "why": why}}


def rewritten(signed: Checkpoint, agreed: int) -> str:
    return (
        f"positions {agreed + 1} to {signed.size} are not all what was signed "
        f"{on(signed)}, though each fits the one before: the log was rewritten"
    )


def missing(newest: int, known: Iterable[Checkpoint]) -> str:
    """Tell what is gone at the end, and who says so."""
    beyond = [each for each in known if each.size > newest]
    said = f"; {beyond[0].size} events were signed {on(beyond[0])}" if beyond else ""
    return f"the log has no position {newest + 1}; it ends at {newest}{said}"


def on(signed: Checkpoint) -> str:
    return f"on {signed.time.strftime(TELL)}"
