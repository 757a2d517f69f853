"""Sentences about what the log keeps, and what it tells."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from pytest_bdd import given, then, when

from features.steps.attachments import attach, hold, succeeded
from features.steps.sentences import says
from features.steps.service import Published
from features.steps.world import World

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


# Who asks, why, and under which key


@given(says('"{actor:Name}" asks because of "{reason:Name}"'))
def asks_because(world: World, actor: str, reason: str) -> None:
    world.headers |= {"Holdfast-Actor": actor, "Holdfast-Reason": reason}


@given(says('everything is asked under the key "{key:Name}"'))
@when(says('everything is asked under the key "{key:Name}"'))
def asks_under(world: World, key: str) -> None:
    world.headers["Holdfast-Request-Id"] = world.own(key)


@given("the caller follows a trace")
def follows_trace(world: World) -> None:
    world.headers["traceparent"] = TRACEPARENT


@given(says('the caller gives "{trace:Name}" for a trace'))
def follows_nothing(world: World, trace: str) -> None:
    world.headers["traceparent"] = trace


@given("the caller waits for what comes of it")
def waits(world: World) -> None:
    world.headers["Holdfast-Wait"] = "10"


@given("the caller waits for a moment")
def waits_briefly(world: World) -> None:
    world.headers["Holdfast-Wait"] = "0.2"


HEADERS = {
    "key": "Holdfast-Request-Id",
    "name": "Holdfast-Actor",
    "reason": "Holdfast-Reason",
    "patience": "Holdfast-Wait",
}


@given(says("the caller gives {value} for its {what:Status}"))
def gives(world: World, value: str, what: str) -> None:
    many, _, text = value.partition(" times ")
    world.headers[HEADERS[what]] = text * int(many) if text else value


@given(says('a volume "{name:Name}" was created under the key "{key:Name}"'))
def created_under(world: World, name: str, key: str) -> None:
    asks_under(world, key)
    answer = world.ask("volume.create", name=name, size_gib=1, backend="files")
    world.volumes[name] = answer["id"]
    world.earlier = answer
    world.soon(lambda: world.volume(name)["status"], "available")


@given(says('"{holder:Name}" has reserved "{name:Name}" under the key "{key:Name}"'))
def reserved_under(world: World, holder: str, name: str, key: str) -> None:
    asks_under(world, key)
    world.earlier = succeeded(hold(world, holder, name))


@given(says('"{name:Name}" was given another name since'))
def renamed(world: World, name: str) -> None:
    world.do("volume.update", id=world.volumes[name], name="another")


@given(says('"{name:Name}" was refused to "{holder:Name}" under the key "{key:Name}"'))
def refused_under(world: World, name: str, holder: str, key: str) -> None:
    asks_under(world, key)
    attach(world, holder, name)
    assert world.answer["type"] == "refused", world.answer


@given(
    says(
        '"{name:Name}" was refused to "{holder:Name}" under the key "{key:Name}"'
        " and is free by now"
    )
)
def refused_then_free(world: World, name: str, holder: str, key: str) -> None:
    attached = {"id": world.volumes[name], "instance": "web-1"}
    world.do("volume.attach", **attached)
    refused_under(world, name, holder, key)
    world.do("volume.detach", id=world.volumes[name])


@given(says('"{name:Name}" was deleted once more'))
def deleted_once_more(world: World, name: str) -> None:
    answer = world.ask("volume.delete", id=world.volumes[name])
    assert answer["status"] == "deleted"


@when("the same is asked again")
def ask_again(world: World) -> None:
    world.ended_at = world.end_of_log()
    world.say(*world.last)


@when("the same is asked again, spelt differently")
def ask_again_respelt(world: World) -> None:
    command, body = world.last
    said = dict(reversed(json.loads(body).items()))
    world.ended_at = world.end_of_log()
    world.say(command, json.dumps(said, indent=3).encode())


@when(says('the same is asked again by "{actor:Name}" who waits'))
def ask_again_waiting(world: World, actor: str) -> None:
    command, body = world.last
    headers = {"Holdfast-Actor": actor, "Holdfast-Wait": "10"}
    world.ended_at = world.end_of_log()
    world.say(command, body, **headers)


@when(says("{times:d} times, the same is asked twice at once"))
def ask_twice(world: World, times: int) -> None:
    world.answers = []
    for _ in range(times):
        message = {"size_gib": 1, "backend": "files", "name": "db"}
        key = {"Holdfast-Request-Id": str(uuid4())}
        asked = ("volume.create", message, key)
        world.answers += world.service.ask_at_once(asked, asked)


@then("each time both are given the same answer")
def same_answers(world: World) -> None:
    pairs = list(zip(world.answers[::2], world.answers[1::2], strict=True))
    assert [a for a, b in pairs if a != b or "title" in a] == []


@then("each time one volume is made")
def made_once(world: World) -> None:
    made = {answer["id"] for answer in world.answers}
    assert len(made) == len(world.answers) // 2


@then(says('the answer shows "{name:Name}" as {status:Status}'))
def answer_shows(world: World, name: str, status: str) -> None:
    assert world.answer["id"] == world.volumes[name]
    assert world.answer["status"] == status


@then("the answer tells where in the log it stands")
def answer_stands(world: World) -> None:
    last = world.do("volume.history", id=world.answer["id"])["items"][-1]
    told = world.answer["version"], world.answer["position"]
    assert told == (last["version"], last["position"])


# What is wrong with a message

BODIES = {
    "nothing but a number": b"5",
    "a list": b"[]",
    "half an object": b'{"size_gib": 1',
    "no UTF-8": b'{"name": "\xff"}',
    "not a number": b'{"size_gib": NaN}',
}


@when(says("a volume is asked for with {what}"))
def ask_with(world: World, what: str) -> None:
    world.ended_at = world.end_of_log()
    world.say("volume.create", BODIES[what])


@when("a volume is asked for in more words than can be read at once")
def ask_too_much(world: World) -> None:
    world.ended_at = world.end_of_log()
    padding = b" " * (64 * 1024)
    world.say("volume.create", b'{"size_gib": 1, "backend": "files"}' + padding)


@when("volumes are listed with nothing said at all")
def ask_empty(world: World) -> None:
    world.ended_at = world.end_of_log()
    world.say("volume.list", b"")


# What the log keeps


@then(says('"{name:Name}" has this history'))
def has_history(world: World, name: str, datatable: list[list[str]]) -> None:
    world.soon(lambda: len(world.history(name)) >= len(datatable) - 1, expected=True)
    heads, *rows = datatable
    known = {"what": "event", "who": "actor", "why": "reason", "by": "recorded_by"}
    seen = [
        [str(item[known[head]] or "") for head in heads] for item in world.history(name)
    ]
    assert seen == rows


@then(says('in the history of "{name:Name}" this has changed'))
def has_changed(world: World, name: str, datatable: list[list[str]]) -> None:
    _, *rows = datatable
    told = {item["event"]: item["changed"] for item in world.history(name)}
    for event, field, before, after in rows:
        seen = told[event][field]
        assert (str(seen["before"]), str(seen["after"])) == (before, after)


# How a history is narrowed down to what is about an event of it, or one's caller.
NARROWED: dict[str, Callable[[str, Any], dict[str, Any]]] = {
    "by": lambda said, _: {"actor": said},
    "since": lambda _, item: {"since": item["at"]},
    "until": lambda _, item: {"until": item["at"]},
    "with the key of": lambda _, item: {"request_id": item["request_id"]},
    "called": lambda said, _: {"event": said},
}


@then(says('"{name:Name}" has this history {how} "{said:Name}"'))
def has_narrowed_history(
    world: World, name: str, how: str, said: str, datatable: list[list[str]]
) -> None:
    named = {item["event"]: item for item in world.history(name)}
    asked = NARROWED[how](said, named.get(said))
    page = world.do("volume.history", id=world.volumes[name], **asked)
    _, *rows = datatable
    assert [[item["event"]] for item in page["items"]] == rows


@when(says('the history of "{name:Name}" is asked for "{topic}"'))
def ask_history_for(world: World, name: str, topic: str) -> None:
    world.ask("volume.history", id=world.volumes[name], event=topic)


@then(says('every line of the history of "{name:Name}" follows the trace'))
def follows(world: World, name: str) -> None:
    assert {item["trace_id"] for item in world.history(name)} == {TRACE}


@then(says('no line of the history of "{name:Name}" follows a trace'))
def follows_none(world: World, name: str) -> None:
    assert {item["trace_id"] for item in world.history(name)} == {None}


@then(says('each outcome in the history of "{name:Name}" names what caused it'))
def names_cause(world: World, name: str) -> None:
    items = world.history(name)
    asked = {str(item["position"]): item["version"] for item in items}
    outcomes = [item for item in items if item["recorded_by"].startswith("agent")]
    assert outcomes
    for item in outcomes:
        assert asked[item["causation_id"]] == item["data"]["intent"]


@then(says('every line of the history of "{name:Name}" has the same key'))
def has_key(world: World, name: str) -> None:
    keys = {item["request_id"] for item in world.history(name)}
    assert keys == {world.headers["Holdfast-Request-Id"]}


@then(says('the history of "{name:Name}" is complete when read {count:d} at a time'))
def is_complete(world: World, name: str, count: int) -> None:
    asked: dict[str, Any] = {"id": world.volumes[name], "limit": count}
    page = world.do("volume.history", **asked)
    items = page["items"]
    while page["next"]:
        page = world.do("volume.history", cursor=page["next"], **asked)
        assert len(page["items"]) <= count
        items += page["items"]
    assert items == world.history(name)
    assert [item["version"] for item in items] == list(range(1, len(items) + 1))


@then(
    says(
        'the history of the attachment of "{holder:Name}" to "{name:Name}" is only its'
    )
)
def only_its(world: World, holder: str, name: str) -> None:
    attachment_id = world.attachment_id(holder, name)
    items = world.do("attachment.history", id=attachment_id)["items"]
    assert items
    assert {item["data"]["attachment_id"] for item in items} == {attachment_id}


@when("the history of a volume that never was is read")
def history_of_nothing(world: World) -> None:
    world.ask("volume.history", id=str(uuid4()))


# Looking back


@when(says('"{name:Name}" is looked at as it was after "{topic:Topic}"'))
def look_back(world: World, name: str, topic: str) -> None:
    item = next(item for item in world.history(name) if item["event"] == topic)
    position = item["position"]
    world.ask("audit.state_at", id=world.volumes[name], position=position)


@when(says('"{name:Name}" is looked at as it was when "{topic:Topic}" happened'))
def look_back_in_time(world: World, name: str, topic: str) -> None:
    item = next(item for item in world.history(name) if item["event"] == topic)
    world.ask("audit.state_at", id=world.volumes[name], time=item["at"])


@when(says('"{name:Name}" is looked at as it was before it was'))
def look_too_far_back(world: World, name: str) -> None:
    position = world.history(name)[0]["position"] - 1
    world.ask("audit.state_at", id=world.volumes[name], position=position)


@when(says('"{name:Name}" is looked at as it was at two moments'))
def look_back_twice(world: World, name: str) -> None:
    at = world.history(name)[0]
    asked = {"time": at["at"], "position": at["position"]}
    world.ask("audit.state_at", id=world.volumes[name], **asked)


@when(says('"{name:Name}" is looked at as it was at no moment'))
def look_back_never(world: World, name: str) -> None:
    world.ask("audit.state_at", id=world.volumes[name])


@when(says('"{name:Name}" is looked at as it was at "{time:Name}"'))
def look_back_at(world: World, name: str, time: str) -> None:
    world.ask("audit.state_at", id=world.volumes[name], time=time)


@when(says("{what} is asked for as of an event that is not there yet"))
def look_ahead(world: World, what: str) -> None:
    beyond = world.end_of_log() + 1_000
    questions: dict[str, tuple[str, dict[str, Any]]] = {
        "a volume": ("state_at", {"id": world.volumes["db"], "position": beyond}),
        "a list": ("at", {"noun": "volume", "position": beyond}),
        "what changed": ("diff", {"from": 1, "to": beyond}),
        "what the log comes to": ("digest", {"position": beyond}),
    }
    subject, asked = questions[what]
    world.ask(f"audit.{subject}", **asked)


@then(says("it was {status:Status} and had {size:d} GiB"))
def it_was(world: World, status: str, size: int) -> None:
    assert (world.answer["status"], world.answer["size_gib"]) == (status, size)


def after(world: World, topic: str, name: str) -> dict[str, Any]:
    """Return the line that tells when something happened to a volume."""
    return next(item for item in world.history(name) if item["event"] == topic)


@when(says('volumes are listed as they were after "{topic:Topic}" of "{name:Name}"'))
def list_back(world: World, topic: str, name: str) -> None:
    position = after(world, topic, name)["position"]
    world.ask("audit.at", noun="volume", position=position, limit=1000)


@when(
    says(
        "volumes that were {status:Status} are listed as they were after "
        '"{topic:Topic}" of "{name:Name}"'
    )
)
def list_some_back(world: World, status: str, topic: str, name: str) -> None:
    then = {"position": after(world, topic, name)["position"], "limit": 1000}
    world.ask("audit.at", noun="volume", status=status, **then)


@when(
    says(
        'volumes are listed as they were when "{topic:Topic}" of "{name:Name}" happened'
    )
)
def list_back_in_time(world: World, topic: str, name: str) -> None:
    time = after(world, topic, name)["at"]
    world.ask("audit.at", noun="volume", time=time, limit=1000)


@when("volumes of an instance are listed as they were")
def list_back_wrongly(world: World) -> None:
    world.ask("audit.at", noun="volume", position=1, instance="web-1")


@then(says('"{name:Name}" is listed as {status:Status} with {size:d} GiB'))
def is_listed_as(world: World, name: str, status: str, size: int) -> None:
    listed = {item["id"]: item for item in world.answer["items"]}
    seen = listed[world.volumes[name]]
    assert (seen["status"], seen["size_gib"]) == (status, size)


@then(says('"{name:Name}" is not listed'))
def is_not_listed(world: World, name: str) -> None:
    assert world.volumes[name] not in {item["id"] for item in world.answer["items"]}


@when(says('it is asked what changed since "{topic:Topic}" of "{name:Name}"'))
def ask_what_changed(world: World, topic: str, name: str) -> None:
    since = after(world, topic, name)["position"]
    world.ask("audit.diff", **{"from": since, "limit": 1000})


@when("it is asked what changed between one moment and the same")
def ask_what_stayed(world: World) -> None:
    world.ask("audit.diff", **{"from": 1, "to": 1})


@when("it is asked what changed between now and earlier")
def ask_backwards(world: World) -> None:
    world.ask("audit.diff", **{"from": world.end_of_log(), "to": 1})


BECAME = {"changed": "changed", "been deleted": "deleted", "been created": "created"}


@then(says('"{name:Name}" is told to have {become}'))
def has_become(
    world: World, name: str, become: str, datatable: list[list[str]]
) -> None:
    told = {item["id"]: item for item in world.answer["items"]}
    item = told[world.volumes[name]]
    assert item["change"] == BECAME[become]
    for field, *values in datatable[1:]:
        seen = item["fields"][field]
        assert [str(seen[each] or "") for each in ("before", "after")] == values


@then("nothing is told to have changed")
def nothing_changed(world: World) -> None:
    assert world.answer["items"] == []


# Why


def events_in(nodes: list[dict[str, Any]], depth: int = 0) -> Iterator[str]:
    """Yield the events of a tree, each behind a > for each it followed from."""
    for node in nodes:
        yield f"{'>' * depth} {node['event']}".strip()
        yield from events_in(node["led_to"], depth + 1)


def told_why(world: World, datatable: list[list[str]], **asked: Any) -> dict[str, Any]:
    """Return the tree, once it has as many events as there should be."""
    _, *rows = datatable
    wanted = [event for [event] in rows]

    def seen() -> list[str]:
        return list(events_in(world.do("audit.why", **asked)["led_to"]))

    world.soon(seen, wanted)
    return world.do("audit.why", **asked)


@then(says('it is told why "{name:Name}" is so'))
def why_so(world: World, name: str, datatable: list[list[str]]) -> None:
    told_why(world, datatable, id=world.volumes[name])


@then(
    says(
        'it is told why "{name:Name}" is so: "{actor:Name}" asked because of '
        '"{reason:Name}"'
    )
)
def why_so_by(
    world: World, name: str, actor: str, reason: str, datatable: list[list[str]]
) -> None:
    asked = told_why(world, datatable, id=world.volumes[name])["request"]
    assert (asked["actor"], asked["reason"]) == (actor, reason)


@then(says('it is told why "{topic:Topic}" of "{name:Name}" happened'))
def why_happened(
    world: World, topic: str, name: str, datatable: list[list[str]]
) -> None:
    position = after(world, topic, name)["position"]
    told = told_why(world, datatable, id=world.volumes[name], position=position)
    assert told["position"] == position


@then(says('it is told what followed from the key "{key:Name}"'))
def what_followed(world: World, key: str, datatable: list[list[str]]) -> None:
    told = told_why(world, datatable, request_id=world.own(key))
    assert told["request"]["request_id"] == world.own(key)


@then(says('it is told what was run on the host for "{topic:Topic}" of "{name:Name}"'))
def what_was_run(world: World, topic: str, name: str) -> None:
    ran = after(world, topic, name)["data"]["commands"]
    assert any(world.volumes[name] in each["command"] for each in ran)
    assert all(each["milliseconds"] >= 0 for each in ran)


@when(says('it is asked why "{name:Name}" is so'))
def ask_why(world: World, name: str) -> None:
    world.ask("audit.why", id=world.volumes[name])


@then("these are its causes")
def are_its_causes(world: World, datatable: list[list[str]]) -> None:
    _, *rows = datatable
    assert [[event] for event in events_in(world.answer["led_to"])] == rows


@then(says('the snapshot "{name:Name}" was {then:Status} then and is {now:Status} now'))
def became(world: World, name: str, then: str, now: str) -> None:
    seen = {each["id"]: each for each in world.answer["related"]}
    told = seen[world.snapshots[name]]
    assert (told["then"], told["now"]) == (then, now)


@when("it is asked why a volume that never was is so")
def why_nothing(world: World) -> None:
    world.ask("audit.why", id=str(uuid4()))


@when("it is asked what followed from a request that never was")
def what_followed_from_nothing(world: World) -> None:
    world.ask("audit.why", request_id=str(uuid4()))


# Whether the log is what was written


@when("the log is verified")
def verify(world: World) -> None:
    world.ask("audit.verify")


@when("the newest part of the log is verified")
def verify_part(world: World) -> None:
    world.ask("audit.verify", **{"from": world.end_of_log() - 3})


@when("the log is verified beyond its end")
def verify_beyond(world: World) -> None:
    world.ask("audit.verify", to=world.end_of_log() + 10)


@when("the log is verified backwards")
def verify_backwards(world: World) -> None:
    world.ask("audit.verify", **{"from": 3, "to": 2})


@then("it is intact from its first event to its last")
def intact(world: World) -> None:
    said = world.answer
    assert (said["intact"], said["from"], said["first_bad"]) == (True, 1, None)
    assert said["events"] == said["to"] == world.end_of_log()


@then("that part is intact")
def part_intact(world: World) -> None:
    assert world.answer["intact"] is True
    assert world.answer["events"] == 4


# What others are told


@then("others are told every event of the log, in order and without a gap")
def told_everything(world: World) -> None:
    end = world.end_of_log()
    world.soon(lambda: world.service.published()[-1].position >= end, expected=True)
    assert [told.position for told in world.service.published()][:end] == list(
        range(1, end + 1)
    )


def told_of(world: World, name: str) -> list[Published]:
    wanted = world.volumes[name]
    return [t for t in world.service.published() if t.headers["ce-subject"] == wanted]


def header(told: Published, name: str) -> str | None:
    """Return what a header says; a blank is spelt %20 there, as CloudEvents asks."""
    value = told.headers.get(name)
    return unquote(value) if value is not None else None


@then(says('others are told of "{name:Name}" what its history says'))
def told_history(world: World, name: str) -> None:
    items = world.history(name)
    world.soon(lambda: len(told_of(world, name)), len(items))
    for told, item in zip(told_of(world, name), items, strict=True):
        noun, _, event = item["event"].partition(".")
        subject = f"holdfast.v1.events.{noun}.{world.volumes[name]}.{event}"
        assert told.subject == subject
        wanted = {
            "Nats-Msg-Id": str(item["position"]),
            "ce-specversion": "1.0",
            "ce-id": str(item["position"]),
            "ce-type": f"holdfast.{item['event']}",
            "ce-time": item["at"],
            "ce-version": str(item["version"]),
            "ce-actor": item["actor"],
            "ce-requestid": item["request_id"],
            "ce-causationid": item["causation_id"],
        }
        assert {k: header(told, k) for k in wanted} == wanted
        assert told.headers["ce-source"]
        assert {k: told.data.get(k) for k in item["data"]} == item["data"]


@then("a message that is told twice is kept once")
def told_twice(world: World) -> None:
    first = world.service.published()[-1]
    world.service.publish_again(first)
    told = [t.position for t in world.service.published()]
    assert told.count(first.position) == 1


@given("it was told what the log comes to")
@when("it is told what the log comes to, now and once more as it was then")
def digest_twice(world: World) -> None:
    world.ask("audit.digest")
    world.earlier = world.answer
    world.ask("audit.digest", position=world.earlier["events"])


@then("both are the same")
def same_digest(world: World) -> None:
    assert world.answer == world.earlier


@then("the log comes to something else, and to a volume more")
def other_digest(world: World) -> None:
    before = world.earlier
    world.ask("audit.digest")
    assert world.answer["digest"] != before["digest"]
    volumes = [
        sum(told["totals"]["volume"].values()) for told in (before, world.answer)
    ]
    assert volumes[1] == volumes[0] + 1
