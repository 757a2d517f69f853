"""What is said on the command line, and what is shown, without a service."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import typer
from rich.markup import render
from typer.testing import CliRunner

from service.cli import app, names, show
from service.cli.app import NOUNS, app_of, run
from service.cli.arguments import connector_of, metadata_of
from service.cli.audit import moment
from service.cli.client import Caller, Ended, Problem, Service, data_folder
from service.cli.options import amiss, waiting
from service.cli.snapshot import chained, seen
from service.deciding.command import Contended, KeyReused, Taken
from service.endpoints import ENDPOINTS
from service.messages.headers import seconds
from service.messages.problems import problem_of

ONE, OTHER = (f"{digit}0000000-0000-4000-8000-000000000000" for digit in "ab")

TAKEN = {"status": "available", "progress": "100%", "created_at": "then"}


class Known:
    """A service that knows a few things, by their noun."""

    def __init__(self, **items: list[dict[str, Any]]) -> None:
        self._items = items

    def pages(self, subject: str, **asked: Any) -> list[dict[str, Any]]:
        found = [
            item
            for item in self._items.get(subject.removesuffix(".list"), [])
            if (asked.get("status") == "deleted") == (item.get("status") == "deleted")
            if asked.get("name") in (None, item["name"])
            if asked.get("volume_id") in (None, item.get("volume_id"))
        ]
        return [{"items": found, "next": None}]

    def look(self, subject: str, **_: Any) -> dict[str, Any]:
        return {"backend": "files"} if subject == "volume.show" else {"items": []}


def meant(said: str, *volumes: dict[str, Any]) -> str:
    service: Any = Known(volume=list(volumes))
    return names.volume(service, said)


def test_a_whole_id_is_not_looked_up() -> None:
    assert meant(ONE.upper()) == ONE


def test_a_name_comes_before_the_beginning_of_an_id() -> None:
    volumes = {"id": ONE, "name": "x"}, {"id": OTHER, "name": "a"}

    assert meant("a", *volumes) == OTHER


def test_what_is_there_comes_before_what_is_deleted() -> None:
    gone = {"id": OTHER, "name": "db", "status": "deleted"}

    assert meant("db", {"id": ONE, "name": "db"}, gone) == ONE
    assert meant("db", gone) == OTHER


def test_of_several_that_are_deleted_it_says_which_and_since_when() -> None:
    gone = [
        {"id": ONE, "name": "db", "status": "deleted", "updated_at": "on monday"},
        {"id": OTHER, "name": "db", "status": "deleted", "updated_at": "on friday"},
    ]

    with pytest.raises(Ended) as said:
        meant("db", *gone)

    told = f"{ONE} (on monday), {OTHER} (on friday)"
    assert f"'db' is more than one deleted volume: {told}; " in str(said.value)


def test_what_is_not_there_says_where_to_look() -> None:
    with pytest.raises(Ended, match="volume list"):
        meant("nothing", {"id": ONE, "name": "db"})


def test_a_snapshot_is_meant_among_those_of_its_volume() -> None:
    snapshots = [
        {"id": ONE, "name": "before", "volume_id": "db"},
        {"id": OTHER, "name": "before", "volume_id": "web"},
    ]
    service: Any = Known(snapshot=snapshots)

    assert names.snapshot(service, "before", "web") == OTHER
    with pytest.raises(Ended, match="more than one snapshot"):
        names.snapshot(service, "before")


def test_a_history_is_asked_of_whatever_noun_has_the_name() -> None:
    service: Any = Known(group_snapshot=[{"id": ONE, "name": "nightly"}])

    assert names.kind(service, "nightly") == ("group_snapshot", {"id": ONE})


def test_a_name_that_two_nouns_have_is_refused_with_both() -> None:
    service: Any = Known(
        volume=[{"id": ONE, "name": "db"}], group_snapshot=[{"id": OTHER, "name": "db"}]
    )

    with pytest.raises(Ended, match=f"volume {ONE}, group-snapshot {OTHER}"):
        names.kind(service, "db")


def test_of_two_nouns_the_one_that_is_there_is_meant() -> None:
    service: Any = Known(
        volume=[{"id": ONE, "name": "db", "status": "deleted"}],
        group_snapshot=[{"id": OTHER, "name": "db"}],
    )

    assert names.kind(service, "db") == ("group_snapshot", {"id": OTHER})


def test_a_chain_tells_what_stands_before_and_what_was_made() -> None:
    of = {"name": "", "volume_id": "db"} | TAKEN
    told = {"items": [of | {"id": ONE}, of | {"id": OTHER, "name": "then"}]}
    copy = {"id": "copy", "name": "copy", "source": {"snapshot": ONE}}
    other = {"id": "db", "name": "db", "source": None}
    service: Any = Known(snapshot=told["items"], volume=[copy, other])

    shown = seen(chained(service, "db", told | {"next": None}))

    assert [row[5:] for row in shown.rows] == [["", "copy"], [ONE[:8], ""]]


@pytest.mark.parametrize(
    "became",
    [
        {"status": "creating", "progress": "0%"},
        {"status": "error", "progress": "100%"},  # and then it failed
        {"status": "error_deleting", "progress": "0%"},
    ],
)
def test_what_was_never_taken_has_no_time_and_nothing_was_taken_after_it(
    became: dict[str, str],
) -> None:
    of = {"volume_id": "db"} | TAKEN
    items = [
        of | {"id": "1", "name": "monday"},
        of | {"id": "2", "name": "tuesday"} | became,
        of | {"id": "3", "name": "wednesday"},
    ]
    service: Any = Known(snapshot=items)

    shown = seen(chained(service, "db", {"items": items, "next": None}))

    told = [row[4:6] for row in shown.rows]
    assert told == [["then", ""], ["", ""], ["then", "monday"]]


# fmt: off
WAITS = [
    (["--wait"],                 ["--wait=60"]),
    (["--wait", "db"],           ["--wait=60", "db"]),
    (["--wait", "5", "db"],      ["--wait", "5", "db"]),
    (["--wait", "--json"],       ["--wait=60", "--json"]),
    (["--wait=2.5"],             ["--wait=2.5"]),
]
# fmt: on


@pytest.mark.parametrize(("said", "taken"), WAITS)
def test_a_wait_may_stand_alone(said: list[str], taken: list[str]) -> None:
    assert waiting(said) == taken


def test_a_label_without_a_value_is_shown_and_other_fields_only_with_one() -> None:
    told = {"name": "", "error": None, "metadata": {"c": "", "d": "1"}}

    assert show.fields(told).rows == [["metadata.c", ""], ["metadata.d", "1"]]


def test_what_could_be_a_snapshot_is_shown_beside_its_volume() -> None:
    found = [
        {"reference": {"source-name": "nightly"}, "source_reference": {"id": volume}}
        for volume in (ONE, OTHER)
    ]

    table = show.listed(show.MANAGEABLE_SNAPSHOTS)({"items": found, "next": None})

    column = table.headings.index("VOLUME")
    assert [row[column] for row in table.rows] == [ONE, OTHER]


def test_a_wait_that_ends_in_an_error_says_why() -> None:
    failed = {"id": ONE, "status": "error", "error": {"message": "no room on /data"}}

    assert "no room on /data" in amiss(Service(Caller(data_folder())), failed)


def test_a_wait_that_was_too_short_says_so() -> None:
    making = {"id": ONE, "status": "creating"}

    assert "still creating" in amiss(Service(Caller(data_folder())), making)


def test_a_connector_names_a_host() -> None:
    assert connector_of('{"host": "a"}', ip="1.2.3.4") == {"host": "a", "ip": "1.2.3.4"}
    with pytest.raises(typer.BadParameter):
        connector_of(None, host=None)


def test_metadata_are_pairs() -> None:
    assert metadata_of(["a=b", "c=d=e"]) == {"a": "b", "c": "d=e"}
    with pytest.raises(typer.BadParameter):
        metadata_of(["a"])
    with pytest.raises(typer.BadParameter, match="'=d' has no key before its ="):
        metadata_of(["a=b", "=d"])


@pytest.mark.parametrize("wait", [0, 0.00001, 2.5, 299.99999])
def test_a_wait_is_asked_for_as_the_service_takes_it(wait: float) -> None:
    said = Caller(data_folder(), wait=wait).headers["Holdfast-Wait"]

    assert seconds(said) == wait


def test_a_trace_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "TRACEPARENT", "00-1-2-01")

    assert Caller(data_folder()).headers["traceparent"] == "00-1-2-01"


@pytest.mark.parametrize("error", [Taken(ONE), Contended(), KeyReused()])
def test_a_conflict_is_told_with_one_advice(error: Exception) -> None:
    told = json.loads(problem_of(error).body)

    said = str(Problem(told, "volume.create"))

    assert said == told["detail"]
    assert said.partition("; ")[2]


def test_a_problem_is_its_detail_and_what_to_do_next() -> None:
    told = {"type": "refused", "detail": "cannot delete"}
    problem = Problem(told, "volume.delete", {"id": ONE})
    about_another = Problem(told | {"instance": f"volume/{OTHER}"}, "group.delete")

    history = "cannot delete; `holdfast audit history {}` shows how it came to that"
    assert str(problem) == history.format(ONE)
    assert str(about_another) == history.format(OTHER)


@pytest.mark.parametrize(
    ("noun", "where"),
    [
        ("backend", "`holdfast backend list` shows them"),
        ("group_snapshot", "`holdfast group-snapshot list` shows them"),
        ("volume_type", "[volume_type.NAME] in the settings"),
    ],
)
def test_what_was_not_found_says_where_to_look(noun: str, where: str) -> None:
    told = {"type": "not-found", "detail": "no such thing", "instance": f"{noun}/x"}

    assert str(Problem(told, "volume.create")).startswith(f"no such thing; {where}")


def test_a_plain_table_is_aligned_and_never_wrapped() -> None:
    view = show.listed({"NAME": "name", "TAGS": "tags"})
    told = {"items": [{"name": "x" * 200, "tags": ["a", "b"]}], "next": None}

    lines = list(show.plainly(view(told)))

    assert lines == ["NAME" + " " * 198 + "TAGS", "x" * 200 + "  a, b"]


def test_what_is_empty_is_not_shown_of_a_single_thing() -> None:
    told = {"name": "db", "error": None, "readonly": False, "connection": {"a": 1}}

    table = show.fields(told)

    assert table.rows == [["name", "db"], ["readonly", "no"], ["connection.a", "1"]]


def test_a_history_tells_how_the_status_moved() -> None:
    common = {"at": "", "event": "", "actor": "", "reason": None, "recorded_by": ""}
    grown = {
        "status": {"before": "extending", "after": "available"},
        "size_gib": {"before": 1, "after": 2},
    }
    held = {
        "status": {"before": None, "after": "reserved"},
        "metadata": {"before": {}, "after": {"tier": "fast"}},
    }
    items: list[dict[str, Any]] = [
        {"changed": grown, "data": {"status": "available", "size_gib": 2, "intent": 3}},
        {"changed": held, "data": {"holder": ONE, "metadata": {"tier": "fast"}}},
    ]
    told = {"items": [common | item for item in items], "next": None}

    changed = [row[-1] for row in show.history(told).rows]

    assert changed == [
        "extending → available size_gib 1 → 2",
        f"reserved metadata=tier:fast holder={ONE[:8]}",
    ]


@pytest.mark.parametrize("subject", [endpoint.subject for endpoint in ENDPOINTS])
def test_every_subject_has_a_command(subject: str) -> None:
    noun, verb = re.sub(r"^holdfast\.v1\.", "", subject).replace("_", "-").split(".")

    named = "projections" if noun == "projection" else noun
    ended = CliRunner().invoke(app_of(), [named, verb, "--help"])

    assert ended.exit_code == 0, ended.output
    assert "--json" in ended.output


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (["export", "-"], "it writes a file"),
        (["history", "x", "--event", "volume.a", "--event", "volume.b"], "once"),
    ],
)
def test_what_an_audit_cannot_do_is_wrong_usage(
    said: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit", *said]) == 2
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "asked"),
    [("3", {"position": 3}), ("٣", {"time": "٣"}), ("3Z", {"time": "3Z"})],
)
def test_a_position_is_said_in_plain_digits(said: str, asked: dict[str, Any]) -> None:
    assert moment(said) == asked


def test_a_wrong_word_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["volume", "frobnicate"]) == 2
    assert "holdfast volume --help" in capsys.readouterr().err


def said_of(command: Any) -> Iterator[str]:
    """Yield the help of a command, of what it takes, and of those within it."""
    for each in (command, *command.params):
        yield getattr(each, "help", None) or ""
    for within in getattr(command, "commands", {}).values():
        yield from said_of(within)


def test_no_help_loses_what_looks_like_markup() -> None:
    for each in said_of(typer.main.get_command(app_of())):
        assert render(each).plain == each


def test_every_noun_is_imported_alone() -> None:
    """All that the whole command has, and nothing else."""
    commands: Any = typer.main.get_command(app_of())

    assert sorted(commands.commands) == sorted(NOUNS)
    for noun in NOUNS:
        alone: Any = typer.main.get_command(app_of([noun]))
        assert set(alone.commands) == {n for n in NOUNS if NOUNS[n] == NOUNS[noun]}


@pytest.mark.parametrize(
    ("said", "nouns"),
    [(["volume", "--help"], ["volume"]), (["--help"], [*NOUNS]), (["x"], [*NOUNS])],
)
def test_a_command_imports_what_is_asked_for(
    said: list[str], nouns: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = list[str]()

    def noted(asked: Iterable[str]) -> typer.Typer:
        imported.extend(asked)
        return app_of(imported)

    monkeypatch.setattr(app, "app_of", noted)
    run(said)

    assert imported == nouns


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_no_column_is_lost_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    columns: int,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    item = {"id": ONE, "name": "db", "status": "in-use"}

    show.richly(show.listed(show.VOLUMES)({"items": [item], "next": None}))

    assert capsys.readouterr().out.split()[-3:] == [ONE, "db", "in-use"]


def test_what_a_stranger_calls_something_does_nothing_to_a_terminal() -> None:
    told = show.fields({"totals": {"volume": {"\x1b[2Jevil\nline": 1}}})

    assert told.rows == [["totals.volume.?[2Jevil line", "1"]]
