"""A tree of causes, as it is drawn."""

from __future__ import annotations

from typing import Any

from service.cli import causes


def event(position: int, name: str, *led_to: Any, **data: Any) -> dict[str, Any]:
    return {
        "position": position,
        "noun": "volume",
        "id": "db",
        "event": name,
        "at": "noon",
        "recorded_by": "serve",
        "data": {"status": "creating"} | data,
        "led_to": list(led_to),
    }


def drawn(*nodes: Any, explained: int = 0) -> list[list[str]]:
    request = {"request_id": "k1", "actor": "ana", "reason": "sale", "at": "noon"}
    told = {
        "position": explained,
        "request": request,
        "led_to": list(nodes),
        "related": [],
        "whole": True,
    }
    return [list(row) for row in causes.tree(told).rows]


def test_a_request_stands_above_what_followed_from_it() -> None:
    made = event(2, "volume.creation_finished")

    rows = drawn(event(1, "volume.created", made), event(3, "group.joined"))

    assert [row[0] for row in rows] == [
        "request",
        "├─ volume.created",
        "│  └─ volume.creation_finished",
        "└─ group.joined",
    ]
    assert rows[0][1:] == ["k1", "noon", "ana", "sale"]


def test_what_was_run_stands_below_its_outcome() -> None:
    ran = {"command": "lvcreate -n lv", "milliseconds": 3.5, "exit_status": 5}
    step = {"command": "lio: export", "milliseconds": 1.0}

    rows = drawn(event(1, "volume.creation_failed", commands=[ran, step]))

    assert [row[-1] for row in rows[2:]] == [
        "lvcreate -n lv (exit 5, 3.5 ms)",
        "lio: export (1 ms)",
    ]


def test_the_event_that_is_explained_is_marked() -> None:
    rows = drawn(event(1, "volume.created"), explained=1)

    assert rows[1][0] == "└─ volume.created ◂"
