"""What callers may do at the broker that `up` brings: ask, and read the streams.

Whoever names nobody is a caller. Only the service itself, and agents that were
given its password, write to the streams, answer requests and hear them.
"""

from __future__ import annotations

import json
from urllib.parse import quote

from adapters.jetstream import checkpoints
from adapters.jetstream.stream import STREAM, SUBJECTS
from service.endpoints.endpoint import PREFIX

SERVICE = "holdfast"
CALLER = "caller"
API = "$JS.API"

# What callers ask for is done in an account of their own, so that whatever they
# name for the answer, or for a consumer's messages, is theirs as well.
# fmt: off
ASKS = [
    f"{PREFIX}>", "$SRV.>",
    f"{API}.INFO", f"{API}.STREAM.NAMES", f"{API}.STREAM.LIST", "$JS.FC.>",
]
READS = [
    f"{API}.STREAM.INFO.%s", f"{API}.STREAM.MSG.GET.%s",
    f"{API}.DIRECT.GET.%s", f"{API}.DIRECT.GET.%s.>",
    f"{API}.CONSUMER.CREATE.%s", f"{API}.CONSUMER.CREATE.%s.>",
    f"{API}.CONSUMER.DURABLE.CREATE.%s.>",
    f"{API}.CONSUMER.MSG.NEXT.%s.>", f"{API}.CONSUMER.INFO.%s.>",
    f"{API}.CONSUMER.NAMES.%s", f"{API}.CONSUMER.LIST.%s", "$JS.ACK.%s.>",
]
ASKS += [each % stream for stream in (STREAM, checkpoints.STREAM) for each in READS]
NEVER_ASKS = [
    f"{SUBJECTS}.>", checkpoints.SUBJECT,
    f"{PREFIX}agent.>", f"{PREFIX}agents.>", f"{PREFIX}keeper.>",
]
# fmt: on
DELIVERED = "_INBOX.>"  # where consumers send what callers subscribe to
LONGEST_ANSWER = "6m"  # a request may wait for 300 s


def configured(password: str) -> str:
    """Return the lines of a NATS configuration that keep callers to their part."""
    answered = {"response_type": "Stream", "response_threshold": LONGEST_ANSWER}
    accounts = {
        "HOLDFAST": {
            "jetstream": "enabled",
            "users": [{"user": SERVICE, "password": password}],
            "exports": [
                *({"service": subject} | answered for subject in ASKS),
                {"stream": DELIVERED},
            ],
        },
        "CALLERS": {
            "users": [
                {
                    "user": CALLER,
                    "password": CALLER,
                    "permissions": {
                        "publish": {"allow": [*ASKS, "_INBOX.>"], "deny": NEVER_ASKS},
                        "subscribe": {"allow": ["_INBOX.>"]},
                    },
                }
            ],
            "imports": [
                *(
                    {"service": {"account": "HOLDFAST", "subject": subject}}
                    for subject in ASKS
                ),
                {"stream": {"account": "HOLDFAST", "subject": DELIVERED}},
            ],
        },
    }
    # NATS reads JSON as its own format.
    return f"accounts: {json.dumps(accounts)}\nno_auth_user: {CALLER}\n"


def with_password(url: str, password: str) -> str:
    """Return the broker's URL for the service itself."""
    return url.replace("://", f"://{SERVICE}:{quote(password)}@", 1)
