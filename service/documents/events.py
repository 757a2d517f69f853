"""The catalogue of events: what is in the log, what it means, and who has it recorded.

python -m service.documents.events > docs/events.md
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

from domain import log
from domain.aggregate import Failure, Intent
from domain.released import EVERY, Shape, shapes
from domain.volume import Volume
from service.deciding.reactions import REACTIONS
from service.documents.recording import recorded_by
from service.endpoints import ENDPOINTS, FOR_AGENTS
from service.endpoints.endpoint import PREFIX, Endpoint, Query
from service.keeping.watcher import HOLDS

HEAD = """\
# Events

Everything that the log may have in it: what each event means, who has it recorded, and
its fields. `history`, the stream `HOLDFAST_EVENTS` and an export tell the same. Written
by `just generate` from what `domain/` says.

A field is `name: type`, with `= value` where an event may leave it out. What was
released stays (`domain/released_topics.txt`): fields are only added. An event whose
shape had to change has a higher version; what was written before is lifted to it when
it is read.
"""
LATE = "the watcher, once the deadline has passed"


def text() -> str:
    """Return the page as it is committed."""
    told, who = shapes(), recorders()
    parts = [HEAD, chapter("Of every event", [fields(told.pop(EVERY))])]
    for noun in log.AGGREGATES:
        topics = [topic for topic in log.EVENTS if topic.startswith(f"{noun}.")]
        about = (event(topic, told.pop(topic), who[topic]) for topic in topics)
        parts.append(chapter(noun.replace("_", " ").capitalize(), about))
    made_of = (f"* `{name}`: {inside(shape)}" for name, shape in told.items())
    parts.append(chapter("What fields are made of", ["\n".join(made_of)]))
    return "\n".join(parts)


def chapter(title: str, parts: Iterator[str] | list[str]) -> str:
    return "\n\n".join([f"## {title}", *parts]) + "\n"


def event(topic: str, shape: Shape, who: list[str]) -> str:
    """Return what there is to say of one event."""
    version = f", version {shape.version}" if shape.version > 1 else ""
    kind = log.EVENTS[topic]
    asks = "Work for the backend. " if issubclass(kind, Intent) else ""
    parts = [
        f"### {topic}{version}",
        inspect.cleandoc(str(kind.__doc__)),
        f"{asks}Recorded by {listed(who)}.",
        fields(shape),
    ]
    return "\n\n".join(filter(None, parts))


def fields(shape: Shape) -> str:
    return "\n".join(f"* `{name}: {said}`" for name, said in shape.lines.items())


def listed(words: list[str]) -> str:
    """Return words as a sentence has them."""
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def inside(shape: Shape) -> str:
    """Return the fields of a struct, or the values of an enumeration, in a line."""
    lines = shape.lines.items()
    return ", ".join(
        f"`{name}: {said}`" if said else f"`{name}`" for name, said in lines
    )


def recorders() -> dict[str, list[str]]:
    """Return who has the events of each topic recorded, in words."""
    who: dict[str, dict[str, None]] = {topic: {} for topic in log.EVENTS}

    def note(topics: set[str], words: str) -> None:
        for topic in topics:
            who[topic][words] = None

    for each in (*ENDPOINTS, *FOR_AGENTS):
        if isinstance(each, Query) and each not in FOR_AGENTS:
            continue  # it only looks
        asked = each.decide if isinstance(each, Endpoint) else each.ask
        subject = each.subject.removeprefix(PREFIX)
        agents = each in FOR_AGENTS
        note(
            recorded_by(asked), f"the agent (`{subject}`)" if agents else f"`{subject}`"
        )
    for cause, reactions in REACTIONS.items():
        for react in reactions:
            note(recorded_by(react), f"what follows from `{cause.TOPIC}`")
    for status, expired in HOLDS.items():
        note(
            recorded_by(expired), f"the watcher, of what stays `{status}` for too long"
        )
    failures = {t for t, kind in log.EVENTS.items() if issubclass(kind, Failure)}
    # Who has not answered in time may have made it: another one is not asked.
    note(failures - {Volume.CreationGivenUp.TOPIC}, LATE)
    return {topic: list(words) for topic, words in who.items()}


if __name__ == "__main__":
    sys.stdout.write(text())
