"""Which resource is meant: a whole id, the beginning of one, or a name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import sleep
from typing import Any, NamedTuple
from uuid import UUID

from service.cli.client import Caller, Ended, Problem, Service, data_folder
from service.cli.show import spoken

HEXADECIMAL = frozenset("0123456789abcdef-")
NAMED = ("volume", "snapshot", "group", "group_snapshot")
GONE = dict.fromkeys(NAMED, "deleted") | {"attachment": "detached"}
# Of which noun they are the consistent ones.
CONSISTENT = {"consistency_group": "group", "cgsnapshot": "group_snapshot"}
LAG = 0.2  # seconds
MOST_TOLD = 5  # candidates of an ambiguous name


def volume(service: Service, said: str) -> str:
    """Return the id of a volume that is there, or was."""
    return of(service, "volume", said)


def attachment(service: Service, said: str) -> str:
    """Return the id of an attachment that is there, or was."""
    return of(service, "attachment", said)


def snapshot(service: Service, said: str, volume_id: str | None = None) -> str:
    """Return the id of a snapshot that is there, or was; of that volume, if any."""
    return of(service, "snapshot", said, volume_id=volume_id)


def group(service: Service, said: str) -> str:
    """Return the id of a group that is there, or was."""
    return of(service, "group", said)


def group_snapshot(service: Service, said: str) -> str:
    """Return the id of a group snapshot that is there, or was."""
    return of(service, "group_snapshot", said)


def of(service: Service, noun: str, said: str, **within: Any) -> str:
    """Return the one id that is meant, or raise `Ended` with the candidates."""
    every = CONSISTENT.get(noun, noun)

    def look() -> list[dict[str, Any]]:
        found = called(service, every, said, **within)
        found = found or begun(service, every, said, **within)
        return [each for each in found if noun == every or consistent(service, each)]

    return only(noun, said, whole(said) or soon(look))


def consistent(service: Service, item: dict[str, Any]) -> bool:
    """Tell whether it is a consistent group, or of one."""
    group_id = item.get("group_id", item["id"])
    return bool(service.look("group.show", id=group_id)["consistent"])


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


def called(
    service: Service, noun: str, said: str, **within: Any
) -> list[dict[str, Any]]:
    """Return those of that name: the ones that are there before those gone."""
    if not said or noun not in NAMED:
        return []
    return there_or_gone(service, noun, "", name=said, **within)


def begun(
    service: Service, noun: str, said: str, **within: Any
) -> list[dict[str, Any]]:
    """Return those whose id begins so: the ones that are there before those gone."""
    start = said.lower()
    if not said or not HEXADECIMAL.issuperset(start):
        return []
    return there_or_gone(service, noun, start, **within)


def there_or_gone(
    service: Service, noun: str, start: str, **asked: Any
) -> list[dict[str, Any]]:
    """Return those that are there, or else gone, and whose id begins so."""
    for status in (None, GONE[noun]):
        items = listed(service, noun, status=status, **asked)
        if found := [item for item in items if item["id"].startswith(start)]:
            return found
    return []


def listed(service: Service, noun: str, **asked: Any) -> Iterator[dict[str, Any]]:
    """Yield all of a list, whatever its length."""
    for page in service.pages(f"{noun}.list", **asked):
        yield from page["items"]


def only(noun: str, said: str, found: Iterable[dict[str, Any]]) -> str:
    """Return the one id that is meant, or raise `Ended` with the candidates."""
    items, word = list(found), spoken(noun)
    every = CONSISTENT.get(noun, noun)
    if len(items) == 1:
        return str(items[0]["id"])
    if not items:
        raise Ended(
            f"no {word} is {said!r}; `holdfast {spoken(every)} list` shows them"
        )
    gone = items[0].get("status") == GONE[every]
    told = ", ".join(gone_since(i) if gone else i["id"] for i in items[:MOST_TOLD])
    more = f" and {len(items) - MOST_TOLD} more" if len(items) > MOST_TOLD else ""
    kind_of = f"{GONE[every]} {word}" if gone else word
    raise Ended(
        f"{said!r} is more than one {kind_of}: {told}{more}; give more of the id"
    )


def gone_since(item: dict[str, Any]) -> str:
    """Return the id of what is gone, and since when: it is told from others by that."""
    return f"{item['id']} ({item.get('updated_at') or item.get('detached_at')})"


def kind(service: Service, said: str) -> tuple[str, dict[str, str]]:
    """Return the noun of whatever is meant, and what its history is asked by."""
    if whole(said):
        return of_whole(service, said)
    found = soon(lambda: candidates_of(service, said))
    there = [each for each in found if each.item.get("status") != GONE.get(each.noun)]
    candidates = [(each.noun, each.key) for each in there or found]
    if not candidates:
        raise Ended(
            f"nothing is {said!r}; `holdfast volume list`, `backend list` and the "
            "other nouns' show what there is"
        )
    if len(candidates) > 1:
        told = ", ".join(f"{spoken(n)} {key}" for n, key in candidates[:MOST_TOLD])
        raise Ended(f"{said!r} is more than one thing: {told}; give more of the id")
    [(noun, key)] = candidates
    return noun, {"name" if noun == "backend" else "id": key}


class Candidate(NamedTuple):
    """What may be meant: of which noun, by what it is asked for, as it is listed."""

    noun: str
    key: str
    item: dict[str, Any]


def candidates_of(service: Service, said: str) -> list[Candidate]:
    """Return what has that name; else, what has an id that begins so."""
    backends = service.look("backend.list", name=said)["items"] if said else []
    candidates = [Candidate("backend", item["name"], item) for item in backends]
    for look, nouns in ((called, NAMED), (begun, GONE)):
        candidates += [
            Candidate(noun, item["id"], item)
            for noun in nouns
            for item in look(service, noun, said)
        ]
        if candidates:
            break
    return candidates


def of_whole(service: Service, said: str) -> tuple[str, dict[str, str]]:
    """Return the noun of a whole id."""
    for noun in GONE:
        try:
            service.look(f"{noun}.show", id=said)
        except Problem as problem:
            if problem.told.get("type") != "not-found":
                raise
        else:
            return noun, {"id": said}
    raise Ended(f"nothing has ever been {said}")


def complete(noun: str) -> Callable[[Any, str], list[str]]:
    """Return what tells which names begin so, and nothing where nobody answers."""

    def names(ctx: Any, incomplete: str) -> list[str]:
        given = ctx.params
        caller = Caller(given.get("data") or data_folder(), given.get("nats"))
        try:
            with Service(caller) as service:
                items = service.look(f"{noun}.list", limit=1000)["items"]
        except Ended:
            return []
        known = dict.fromkeys(item["name"] for item in items if item["name"])
        return [name for name in known if name.startswith(incomplete)]

    return names
