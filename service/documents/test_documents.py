"""What is generated is as the code is, and says something of everything."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import domain
from domain import log
from domain.aggregate import Intent, Outcome, Progress
from domain.lifecycle import Lifecycle
from service.documents import events, lifecycles
from service.documents.recording import recorded_by
from service.endpoints import attachments, group_snapshots, groups, volumes
from service.endpoints.agents import report

DOCS = Path(__file__).parents[2] / "docs"
WHO = events.recorders()


@pytest.mark.parametrize("document", [events, lifecycles])
def test_the_committed_page_is_the_generated_one(document: ModuleType) -> None:
    name = document.__name__.rpartition(".")[2]

    assert (DOCS / f"{name}.md").read_text() == document.text(), "run: just generate"


@pytest.mark.parametrize("topic", log.EVENTS)
def test_every_event_says_what_it_means_and_is_recorded_by_somebody(topic: str) -> None:
    assert vars(log.EVENTS[topic]).get("__doc__")
    assert WHO[topic]


def test_every_table_of_moves_is_drawn() -> None:
    modules = (
        importlib.import_module(f"domain.{found.name}")
        for found in pkgutil.iter_modules(domain.__path__)
        if not found.name.startswith("test_")
    )
    tables = {
        id(value)
        for module in modules
        for value in vars(module).values()
        if isinstance(value, Lifecycle)
    }

    assert tables == {id(table) for table in lifecycles.TABLES.values()}


def test_callers_ask_for_work_and_agents_tell_what_came_of_it() -> None:
    told = {topic: " ".join(words) for topic, words in WHO.items()}
    work = {t for t, kind in log.EVENTS.items() if issubclass(kind, Intent)}
    came = {t for t, kind in log.EVENTS.items() if issubclass(kind, Outcome | Progress)}

    # What one backend cannot make, another one is asked for by that word.
    assert {t for t in work if "agent" in told[t]} == {"volume.rescheduled"}
    assert {t for t in came if "the agent" not in told[t]} == set()
    assert "the watcher" in told["volume.creation_failed"]
    assert "the watcher" not in told["volume.creation_given_up"]


@pytest.mark.parametrize(
    ("decide", "topics"),
    [
        (volumes.extend, {"volume.extension_started"}),
        (volumes.show, set()),
        (volumes.unmanage, {"volume.unmanaging_started"}),
        (
            attachments.create,
            {"volume.reserved", "volume.connection_started"},
        ),
        (
            groups.update,
            {"volume.grouped", "volume.ungrouped", "group.updated"},
        ),
        (
            group_snapshots.create,
            {
                "group.snapshot_added",
                "group_snapshot.created",
                "snapshot.created_in_group",
                "volume.snapshot_added",
            },
        ),
    ],
)
def test_a_decision_is_read_for_what_it_records(decide: Any, topics: set[str]) -> None:
    assert recorded_by(decide.decide) == topics


def test_what_only_asks_which_event_it_is_records_nothing_of_it() -> None:
    assert "volume.deletion_started" not in recorded_by(report.ask)
