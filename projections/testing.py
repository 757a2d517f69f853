"""Logs for tests, line by line as an export has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from domain import log
from domain.aggregate import Event
from domain.chain import GENESIS, link, packed


def lines_of(events: Iterable[Event]) -> list[bytes]:
    """Return the lines of a log that has just these events."""
    return chained(
        {
            "id": str(event.originator_id),
            "position": position,
            "version": event.originator_version,
            "topic": event.TOPIC,
            "state": msgspec.Raw(log.encode(event)),
        }
        for position, event in enumerate(events, 1)
    )


def chained(rows: Iterable[dict[str, Any]]) -> list[bytes]:
    """Return lines whose links are right, whatever is in them."""
    lines, last = [], GENESIS
    for row in rows:
        key = bytes.fromhex(row["id"].replace("-", ""))
        state = bytes(row["state"])
        last = link(last, packed(key, row["version"], row["topic"].encode(), state))
        lines.append(msgspec.json.encode({"link": last.hex(), **row}))
    return lines


def parts_of(line: bytes) -> dict[str, Any]:
    """Return what is in a line, without its link."""
    row = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    state = msgspec.Raw(bytes(row.pop("state")))
    told = {key: msgspec.json.decode(value) for key, value in row.items()}
    del told["link"]
    return told | {"state": state}


def text_of(lines: Iterable[bytes]) -> bytes:
    """Return lines as a text."""
    return b"".join(line + b"\n" for line in lines)
