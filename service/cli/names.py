"""Which resource is meant: a whole id, the beginning of one, or a name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import sleep
from typing import Any
from uuid import UUID

from service.cli.client import Caller, Ended, Problem, Service, data_folder

HEXADECIMAL = frozenset("0123456789abcdef-")
GONE = {"volume": "deleted", "attachment": "detached"}
LAG = 0.2  # seconds
MOST_TOLD = 5  # candidates of an ambiguous name


def volume(service: Service, said: str) -> str:
    """Return the id of a volume that is there, or was."""
    found = whole(said) or soon(lambda: volumes(service, said))
    return only("volume", said, found)


def attachment(service: Service, said: str) -> str:
    """Return the id of an attachment that is there, or was."""
    found = whole(said) or soon(lambda: begun(service, "attachment", said))
    return only("attachment", said, found)


def soon(look: Callable[[], list[Any]]) -> list[Any]:
    """Look once more for what is not there: lists may lag behind what was just done."""
    found = look()
    if not found:
        sleep(LAG)
    return found or look()


def whole(said: str) -> list[dict[str, Any]]:
    """Return the id, if it is a whole one, as the only candidate."""
    try:
        return [{"id": str(UUID(said))}] if len(said) == len(str(UUID(int=0))) else []
    except ValueError:
        return []


def volumes(service: Service, said: str) -> list[dict[str, Any]]:
    """Return the volumes of that name, else those whose id begins so."""
    return called(service, said) or begun(service, "volume", said)


def called(service: Service, said: str) -> list[dict[str, Any]]:
    """Return the volumes of that name: those that are there before those gone."""
    for status in (None, GONE["volume"]) if said else ():
        named = service.pages("volume.list", name=said, status=status)
        if found := [item for page in named for item in page["items"]]:
            return found
    return []


def begun(service: Service, noun: str, said: str) -> list[dict[str, Any]]:
    """Return those whose id begins so: the ones that are there before those gone."""
    start = said.lower()
    if not said or not HEXADECIMAL.issuperset(start):
        return []
    for status in (None, GONE[noun]):
        pages = service.pages(f"{noun}.list", status=status)
        items = [item for page in pages for item in page["items"]]
        if found := [item for item in items if item["id"].startswith(start)]:
            return found
    return []


def only(noun: str, said: str, found: Iterable[dict[str, Any]]) -> str:
    """Return the one id that is meant, or raise `Ended` with the candidates."""
    ids = [str(item["id"]) for item in found]
    if len(ids) == 1:
        return ids[0]
    if not ids:
        raise Ended(f"no {noun} is {said!r}; `holdfast {noun} list` shows them")
    more = f" and {len(ids) - MOST_TOLD} more" if len(ids) > MOST_TOLD else ""
    raise Ended(
        f"{said!r} is more than one {noun}: {', '.join(ids[:MOST_TOLD])}{more}; "
        "give more of the id"
    )


def kind(service: Service, said: str) -> tuple[str, dict[str, str]]:
    """Return the noun of whatever is meant, and what its history is asked by."""
    if whole(said):
        return of_whole(service, said)
    candidates = soon(lambda: candidates_of(service, said))
    if not candidates:
        raise Ended(
            f"nothing is {said!r}; `holdfast volume list`, `attachment list` and "
            "`backend list` show what there is"
        )
    if len(candidates) > 1:
        told = ", ".join(" ".join(each) for each in candidates[:MOST_TOLD])
        raise Ended(f"{said!r} is more than one thing: {told}; give more of the id")
    [(noun, key)] = candidates
    return noun, {"name" if noun == "backend" else "id": key}


def candidates_of(service: Service, said: str) -> list[tuple[str, str]]:
    """Return what has that name; else, what has an id that begins so."""
    backends = service.look("backend.list", name=said)["items"] if said else []
    candidates = [("backend", item["name"]) for item in backends]
    candidates += [("volume", item["id"]) for item in called(service, said)]
    return candidates or [
        (noun, item["id"])
        for noun in ("volume", "attachment")
        for item in begun(service, noun, said)
    ]


def of_whole(service: Service, said: str) -> tuple[str, dict[str, str]]:
    """Return the noun of a whole id."""
    for noun in ("volume", "attachment"):
        try:
            service.look(f"{noun}.show", id=said)
        except Problem as problem:
            if problem.told.get("type") != "not-found":
                raise
        else:
            return noun, {"id": said}
    raise Ended(f"nothing has ever been {said}")


def complete_volumes(ctx: Any, incomplete: str) -> list[str]:
    """Return the names of volumes that begin so, and nothing where nobody answers."""
    given = ctx.params
    caller = Caller(given.get("data") or data_folder(), given.get("nats"))
    try:
        with Service(caller) as service:
            items = service.look("volume.list", limit=1000)["items"]
    except Ended:
        return []
    return [item["name"] for item in items if item["name"].startswith(incomplete)]
