"""What is drift, and what is none."""

from __future__ import annotations

from uuid import UUID, uuid4

import msgspec
import pytest

from domain import log
from domain.drift import (
    EXPLAINED_BY,
    OBJECT,
    VOLUME,
    Drift,
    Explanation,
    Facts,
    Remedy,
    Storage,
    Subject,
    Wanted,
    advice,
    by_subject,
    differences,
    explanation,
    remedy,
    wanted,
)
from domain.ports import Object, Survey
from domain.volume import Volume

GIB = 2**30
ID = UUID(int=7)
IT = Subject(VOLUME, str(ID))
AT, LATER = "2026-01-02T03:04:05+00:00", "2026-02-03T04:05:06+00:00"
WANTED = Wanted(Storage.THERE, 2, AT)
REACHED = Wanted(Storage.THERE, 2, AT, reached=True)
NODE_1, NODE_2, STRANGER = "iqn.node-1", "iqn.node-2", "iqn.stranger"
SHARED = msgspec.structs.replace(REACHED, initiators=frozenset({NODE_1, NODE_2}))
SNAPSHOT = Wanted(Storage.THERE, 2, AT, of=UUID(int=1))
GROWING = Wanted(Storage.THERE, 2, AT, may_be_larger=True)
GONE, LET_GO = Wanted(), Wanted(Storage.LET_GO)
UNCLEAR = Wanted(Storage.UNCLEAR, 2, AT)
SESSION = Drift.SESSION_WITHOUT_ATTACHMENT
FOUND = Object("volume-7", 2 * GIB, "volume", ID, AT)


def found(**changes: object) -> Object:
    return msgspec.structs.replace(FOUND, **changes)


def let_in(*initiators: str) -> Facts:
    return Facts(IT, FOUND, exported=True, initiators=frozenset(initiators))


# fmt: off
DRIFT = [
    (WANTED,   Facts(IT),                                     Drift.OBJECT_MISSING),
    (GONE,     Facts(IT, FOUND),                              Drift.OBJECT_UNEXPLAINED),
    (LET_GO,   Facts(IT, FOUND),                              Drift.OBJECT_UNEXPLAINED),
    (WANTED,   Facts(IT, found(size_bytes=2 * GIB - 1)),      Drift.SIZE),
    (WANTED,   Facts(IT, found(size_bytes=3 * GIB)),          Drift.SIZE),
    (GROWING,  Facts(IT, found(size_bytes=GIB)),              Drift.SIZE),
    (WANTED,   Facts(IT, found(made_at=LATER)),               Drift.ORIGIN),
    (SNAPSHOT, Facts(IT, found(of=UUID(int=2))),              Drift.ORIGIN),
    (WANTED,   Facts(IT, found(lacks=("made-by",))),          Drift.TAGS),
    (REACHED,  Facts(IT, found(active=False), exported=True), Drift.ACTIVATION),
    (REACHED,  Facts(IT, FOUND, exported=False),              Drift.EXPORT_MISSING),
    (WANTED,   Facts(IT, FOUND, exported=True),               Drift.EXPORT_UNEXPLAINED),
    (GONE,     Facts(IT, None, exported=True),                Drift.EXPORT_UNEXPLAINED),
    (SHARED,   let_in(NODE_1),                                Drift.EXPORT_MISSING),
    (SHARED,   let_in(NODE_1, NODE_2, STRANGER),              Drift.EXPORT_UNEXPLAINED),
    (WANTED,   Facts(IT, FOUND, used=True),                   SESSION),
    (GONE,     Facts(IT, None, used=True),                    SESSION),
]
NONE = [
    (WANTED,   Facts(IT, FOUND)),
    (WANTED,   Facts(IT, found(active=False))),  # nobody needs it
    (GROWING,  Facts(IT, found(size_bytes=3 * GIB))),  # it has grown after all
    (SNAPSHOT, Facts(IT, found(of=UUID(int=1)))),
    (REACHED,  Facts(IT, FOUND, exported=True, used=True)),
    (REACHED,  Facts(IT, FOUND, exported=None)),  # nothing ever is
    (SHARED,   Facts(IT, FOUND, exported=True)),  # nobody can tell who
    (SHARED,   let_in(NODE_1, NODE_2)),
    (GONE,     Facts(IT)),
    (LET_GO,   Facts(IT, found(made_at=None, lacks=("volume",)))),  # it is others' now
    (UNCLEAR,  Facts(IT)),
    (UNCLEAR,  Facts(IT, found(size_bytes=1, made_at=LATER), exported=True, used=True)),
]
# fmt: on


@pytest.mark.parametrize(("log", "seen", "drift"), DRIFT)
def test_drift_is_told_and_nothing_else(log: Wanted, seen: Facts, drift: Drift) -> None:
    assert [each.drift for each in differences(log, seen)] == [drift]


@pytest.mark.parametrize(("log", "seen"), NONE)
def test_what_is_as_it_should_be_or_worked_on_is_none(log: Wanted, seen: Facts) -> None:
    assert differences(log, seen) == []


def test_a_finding_says_what_is_expected_and_what_was_found() -> None:
    [finding] = differences(WANTED, Facts(IT, found(size_bytes=3 * GIB + 5)))

    assert (finding.expected, finding.found) == ("2 GiB", "3 GiB and 5 bytes")


def test_a_way_that_is_otherwise_names_the_initiators() -> None:
    [lost, more] = differences(SHARED, let_in(NODE_2, STRANGER))

    assert (lost.expected, lost.found) == (f"{NODE_1} can reach it", "it cannot")
    assert more.expected == f"only {NODE_1} and 1 more can reach it"
    assert more.found == f"{STRANGER} can"


def test_the_initiators_of_a_volume_that_has_many_are_not_told() -> None:
    many = frozenset(map(str, range(101)))
    survey = Survey((FOUND,), frozenset({ID}), frozenset(), {ID: many})

    [facts] = by_subject(survey, [])

    assert facts.initiators is None


def test_two_that_say_they_are_the_same_are_one_and_an_unexplained_one() -> None:
    other = found(name="copy")
    survey = Survey((FOUND, other))
    told = {each.subject: each.object for each in by_subject(survey, [])}

    assert told == {IT: FOUND, Subject(OBJECT, "copy"): other}


def test_what_is_expected_or_reached_is_looked_at_though_nothing_is_there() -> None:
    missing, reached = Subject(VOLUME, str(uuid4())), uuid4()
    survey = Survey(exported=frozenset({reached}))

    told = {each.subject: each.exported for each in by_subject(survey, [missing])}

    assert told == {missing: False, Subject(VOLUME, str(reached)): True}


def test_a_volume_that_is_being_made_is_unclear() -> None:
    volume = Volume.create(uuid4(), size_gib=1, backend="files")

    assert wanted(volume).storage is Storage.UNCLEAR


LAST = [
    Explanation(9, "volume.attached", ID, 6),
    Explanation(4, "volume.creation_finished", ID, 2),
    Explanation(7, "volume.extension_finished", ID, 4),
]


@pytest.mark.parametrize(
    ("drift", "position"),
    [
        (Drift.OBJECT_MISSING, 4),
        (Drift.SIZE, 7),
        (Drift.SESSION_WITHOUT_ATTACHMENT, 9),
    ],
)
def test_the_last_event_that_says_so_explains_it(drift: Drift, position: int) -> None:
    said = explanation(drift, LAST)

    assert said
    assert said.position == position


def test_what_explains_is_among_what_the_log_may_have() -> None:
    assert frozenset().union(*EXPLAINED_BY.values()) - log.EVENTS.keys() == set()


def test_nothing_explains_what_the_log_never_heard_of() -> None:
    assert explanation(Drift.OBJECT_UNEXPLAINED, []) is None


OTHER = found(of=UUID(int=2))
DEAD = Wanted(Storage.GONE, 2, AT)
# fmt: off
REMEDIES = [
    (Drift.OBJECT_MISSING,     WANTED,   None,                       Remedy.BY_HAND),
    (Drift.OBJECT_UNEXPLAINED, DEAD,     FOUND,                      Remedy.REMOVE),
    (Drift.OBJECT_UNEXPLAINED, DEAD,     found(made_at=LATER),       Remedy.BY_HAND),
    (Drift.OBJECT_UNEXPLAINED, DEAD,     found(lacks=("volume",)),   Remedy.BY_HAND),
    (Drift.OBJECT_UNEXPLAINED, GONE,     FOUND,                      Remedy.BY_HAND),
    (Drift.OBJECT_UNEXPLAINED, LET_GO,   FOUND,                      Remedy.BY_HAND),
    (Drift.SIZE,               WANTED,   found(size_bytes=GIB),      Remedy.GROW),
    (Drift.SIZE,               WANTED,   found(size_bytes=3 * GIB),  Remedy.BY_HAND),
    (Drift.ORIGIN,             WANTED,   found(made_at=LATER),       Remedy.BY_HAND),
    (Drift.TAGS,               WANTED,   found(lacks=("volume",)),   Remedy.MARK),
    (Drift.TAGS,               WANTED,   found(made_at=LATER),       Remedy.BY_HAND),
    (Drift.TAGS,               SNAPSHOT, OTHER,                      Remedy.BY_HAND),
    (Drift.ACTIVATION,         REACHED,  FOUND,                      Remedy.CONVERGE),
]
# fmt: on


@pytest.mark.parametrize(("drift", "log", "seen", "safe"), REMEDIES)
def test_only_what_is_safe_is_done(
    drift: Drift, log: Wanted, seen: Object | None, safe: Remedy
) -> None:
    assert remedy(drift, log, Facts(IT, seen)) is safe


@pytest.mark.parametrize("drift", Drift)
@pytest.mark.parametrize("log", [WANTED, GONE, LET_GO, DEAD])
@pytest.mark.parametrize("seen", [None, FOUND, found(size_bytes=1), OTHER])
def test_whatever_is_found_there_is_advice(
    drift: Drift, log: Wanted, seen: Object | None
) -> None:
    assert advice(drift, remedy(drift, log, Facts(IT, seen)))
