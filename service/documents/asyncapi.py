"""The contract as an AsyncAPI document, made of the schemas that the service uses.

    python -m service.documents.asyncapi > docs/asyncapi.yaml

A test holds the committed document to the code.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.metadata import version
from inspect import cleandoc
from typing import Any

import msgspec
import yaml
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema, fields

from adapters.jetstream import checkpoints
from adapters.jetstream.stream import SUBJECTS
from domain import log
from domain.ports import Manageable, ManageableSnapshot
from projections import resources
from service.endpoints import ENDPOINTS
from service.endpoints.endpoint import PATIENCE, Endpoint, Query
from service.keeping.standing import Standing
from service.messages.headers import LONGEST_WAIT, MOST
from service.messages.problems import PROBLEMS
from service.messages.schema import Connector, Printable

Document = dict[str, Any]

DESCRIPTION = f"""\
Every subject takes one JSON object of at most 64 KiB and answers with one.

* A field that is not listed is refused, and so is a header that begins with `Holdfast`
  and is not listed; only those of an answer may come back. An empty body stands for
  `{{}}`.
* What succeeds answers with the resource, its `version`, and the `position` in the
  log of the command's last event; what does not, with an RFC 9457 problem and the
  headers `Nats-Service-Error-Code` and `Nats-Service-Error`.
* A command may carry a `Holdfast-Request-Id`; repeated with the same subject and the
  same JSON value it gives the first answer again. Lists and histories change nothing
  and pay no regard to it.
* With `Holdfast-Wait` the answer comes once no backend is at work on the resource any
  more, or the time is up. A hold that waits for its caller (`reserved`, or `attaching`
  without work in flight) is at rest in this sense.
* Where a subject waits for the backend, the answer comes when its work is done; after
  {PATIENCE:g} s, or the `Holdfast-Wait` given, it is `unavailable`; the work goes on.
  Where the backend could not do it, the answer is a `fault` whose `fault_id` names the
  event that says why, and whose `code` is its word for that.
* While the database is away, commands are `unavailable`. What is shown or listed from
  memory carries `Holdfast-Age`: how many seconds ago it was known to be so.
"""


def document() -> Document:
    """Return the AsyncAPI 3.0 document."""
    messages = {title(each.subject): request(each) for each in ENDPOINTS}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Holdfast",
            "version": version("holdfast"),
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            **{title(each.subject): channel(each) for each in ENDPOINTS},
            "reply": {"address": None, "messages": {"reply": ref("messages", "reply")}},
            "events": events_channel(),
            "checkpoints": {
                "address": checkpoints.SUBJECT,
                "description": f"The JetStream stream {checkpoints.STREAM}.",
                "messages": {"checkpoint": ref("messages", "checkpoint")},
            },
        },
        "operations": {
            **{title(each.subject): operation(each) for each in ENDPOINTS},
            "published": {
                "action": "send",
                "channel": {"$ref": "#/channels/events"},
                "summary": "Every event of the log, in its order, without a gap.",
            },
            "signed": {
                "action": "send",
                "channel": {"$ref": "#/channels/checkpoints"},
                "summary": "How long the log is, again and again, where it is signed.",
            },
        },
        "components": {
            "messages": messages
            | {"reply": reply(), "checkpoint": checkpoint()}
            | events(),
            "schemas": schemas(),
        },
    }


def title(subject: str) -> str:
    """Return a subject's name: without what all of them begin with."""
    return subject.split(".", 2)[2]


def channel(each: Endpoint | Query) -> Document:
    name = title(each.subject)
    return {"address": each.subject, "messages": {"request": ref("messages", name)}}


def operation(each: Endpoint | Query) -> Document:
    waits = isinstance(each, Endpoint) and each.waits
    answer = {"address": {"location": "$message.header#/reply-to"}}
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{title(each.subject)}"},
        "summary": each.doc.partition("\n")[0],
        **({"description": "Waits for the backend."} if waits else {}),
        "reply": answer | {"channel": {"$ref": "#/channels/reply"}},
    }


def request(each: Endpoint | Query) -> Document:
    return {"headers": ref("schemas", "Headers"), "payload": payload(each.takes)}


def reply() -> Document:
    """Return what may be answered: what there is to see, or why not."""
    seen = (ref("schemas", kind.__name__) for kind in SEEN)
    return {"payload": {"anyOf": [*seen, ref("schemas", "Problem")]}}


def checkpoint() -> Document:
    """Return the one message that is text."""
    return {
        "contentType": "text/plain",
        "summary": "A tlog-checkpoint in a signed note, both as C2SP has them.",
        "payload": {"type": "string"},
    }


def payload(schema: Schema) -> Document:
    """Return the JSON schema of a message."""
    inline: Any = lambda _: None  # noqa: E731 - no schema has a name of its own
    plugin = MarshmallowPlugin(schema_name_resolver=inline)
    APISpec("", "", "3.1.0", plugins=[plugin])
    converter: Any = plugin.converter
    converter.add_attribute_function(bounds)
    described: Document = converter.schema2jsonschema(schema)
    return described | {"additionalProperties": False}


def bounds(_: Any, field: fields.Field[Any], **__: Any) -> Document:
    """Return what apispec does not know of our own fields and validators."""
    found: Document = {}
    for validator in field.validators:
        if isinstance(validator, Printable):
            found |= {"minLength": validator.least, "maxLength": validator.most}
    if isinstance(field, Connector):
        found["description"] = "Cinder's connector; names its host, initiator or nqn."
    return found


def events_channel() -> Document:
    parameters = {
        "noun": {"enum": list(log.AGGREGATES)},
        "id": {"description": "A UUID, or a backend's name."},
        "event": {"description": "What happened, as in the message's name."},
    }
    return {
        "address": f"{SUBJECTS}.{{noun}}.{{id}}.{{event}}",
        "description": "The JetStream stream HOLDFAST_EVENTS; CloudEvents 1.0, binary.",
        "parameters": parameters,
        "messages": {topic: ref("messages", f"event.{topic}") for topic in log.EVENTS},
    }


def events() -> Document:
    """Return a message for each topic of the log."""
    return {
        f"event.{topic}": {
            "name": f"holdfast.{topic}",
            "summary": (event.__doc__ or "").partition("\n")[0],
            "headers": ref("schemas", "CloudEvent"),
            "payload": ref("schemas", f"event.{topic}"),
        }
        for topic, event in log.EVENTS.items()
    }


def schemas() -> Document:
    """Return what the messages are made of."""
    _, parts = structs(SEEN)
    tops, more = structs(log.EVENTS.values())
    # Known by their topics; what they are called in here is nobody's business.
    topics = {
        topic: more.pop(tops[event]["$ref"].rpartition("/")[2])
        for topic, event in log.EVENTS.items()
    }
    return {
        "Headers": headers(),
        "CloudEvent": {
            "type": "object",
            "properties": dict.fromkeys(CLOUD_EVENT, TEXT),
        },
        "Problem": problem(),
        **{f"event.{topic}": schema for topic, schema in topics.items()},
        **dict(sorted((parts | more).items())),
    }


def structs(kinds: Iterable[type[Any]]) -> tuple[dict[type[Any], Any], Document]:
    """Return the JSON schema of each struct, and those of what they are made of."""
    listed = list(kinds)
    found, parts = msgspec.json.schema_components(
        listed, ref_template="#/components/schemas/{name}"
    )
    for part in parts.values():  # Python before 3.13 leaves docstrings indented
        if "description" in part:
            part["description"] = cleandoc(part["description"])
    return dict(zip(listed, found, strict=True)), dict(parts)


def headers() -> Document:
    limits = {name: TEXT | {"maxLength": most} for name, most in MOST.items()}
    wait = {"type": "number", "minimum": 0, "maximum": LONGEST_WAIT}
    return {
        "type": "object",
        "properties": limits | {"Holdfast-Wait": wait, "traceparent": TEXT},
    }


def problem() -> Document:
    kinds = sorted({kind for kind, _ in PROBLEMS.values()})
    named = {"type": {"enum": kinds}, "status": {"type": "integer"}}
    named |= {"title": TEXT, "detail": TEXT, "instance": PERHAPS}
    return {
        "type": "object",
        "required": [*named],
        "properties": named | SAID_BY_SOME,
    }


def ref(kind: str, name: str) -> Document:
    return {"$ref": f"#/components/{kind}/{name}"}


TEXT = {"type": "string"}
PERHAPS = {"type": ["string", "null"]}
# What some kinds of problems say beyond what all do.
SAID_BY_SOME: Document = {
    "errors": {"type": "object"},  # invalid: messages for each field
    "command": TEXT,  # refused, as the next two
    "current_status": PERHAPS,
    "unmet": {"type": "array", "items": TEXT},
    "considered": {"type": "object", "additionalProperties": TEXT},  # no-capacity
    "fault_id": TEXT,  # fault, as the next one
    "code": TEXT,
}
SEEN = (
    resources.VolumeSeen,
    resources.AttachmentSeen,
    resources.SnapshotSeen,
    resources.GroupSeen,
    resources.GroupSnapshotSeen,
    resources.BackendSeen,
    resources.RepairsSeen,
    Manageable,
    ManageableSnapshot,
    Standing,
)
CLOUD_EVENT = [
    *("ce-specversion", "ce-id", "ce-type", "ce-source", "ce-subject", "ce-time"),
    *("ce-version", "ce-actor", "ce-requestid", "ce-causationid", "traceparent"),
]


def text() -> str:
    """Return the document as it is committed."""
    return yaml.dump(
        document(), Dumper=Plain, sort_keys=False, allow_unicode=True, width=88
    )


class Plain(yaml.SafeDumper):
    """Writes text of several lines as such, and nothing twice by reference."""

    def ignore_aliases(self, _: Any) -> bool:
        return True


def lines(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


Plain.add_representer(str, lines)


if __name__ == "__main__":
    sys.stdout.write(text())
