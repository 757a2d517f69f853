"""What callers may do at the broker that `up` brings: ask, and read the stream.

Whoever names nobody is a caller. Only the service itself, and agents that were
given its password, write to the stream, answer requests and hear them.
"""

from __future__ import annotations

import json
from urllib.parse import quote

from adapters.jetstream.publisher import STREAM, SUBJECTS
from service.endpoint import PREFIX

SERVICE = "holdfast"
CALLER = "caller"
API = "$JS.API"

# fmt: off
ASKS = [
    f"{PREFIX}>", "$SRV.>", "_INBOX.>",
    f"{API}.INFO", f"{API}.STREAM.NAMES", f"{API}.STREAM.LIST",
    f"{API}.STREAM.INFO.{STREAM}", f"{API}.STREAM.MSG.GET.{STREAM}",
    f"{API}.DIRECT.GET.{STREAM}", f"{API}.DIRECT.GET.{STREAM}.>",
    f"{API}.CONSUMER.*.{STREAM}", f"{API}.CONSUMER.*.{STREAM}.>",
    f"{API}.CONSUMER.DURABLE.CREATE.{STREAM}.>", f"{API}.CONSUMER.MSG.NEXT.{STREAM}.>",
    f"$JS.ACK.{STREAM}.>", "$JS.FC.>",
]
NEVER_ASKS = [
    f"{SUBJECTS}.>", f"{PREFIX}agent.>", f"{PREFIX}agents.>", f"{PREFIX}keeper.>",
]
HEARS = ["_INBOX.>", f"{SUBJECTS}.>"]
# fmt: on


def configured(password: str) -> str:
    """Return the lines of a NATS configuration that keep callers to their part."""
    users = [
        {"user": SERVICE, "password": password},
        {
            "user": CALLER,
            "password": CALLER,
            "permissions": {
                "publish": {"allow": ASKS, "deny": NEVER_ASKS},
                "subscribe": {"allow": HEARS},
            },
        },
    ]
    # NATS reads JSON as its own format.
    return f"authorization: {json.dumps({'users': users})}\nno_auth_user: {CALLER}\n"


def with_password(url: str, password: str) -> str:
    """Return the broker's URL for the service itself."""
    return url.replace("://", f"://{SERVICE}:{quote(password)}@", 1)
