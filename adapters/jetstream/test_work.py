"""What a driver is asked for an intent, where that is not one operation."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from adapters.contracts.drivers import CAUSE
from adapters.jetstream.work import WORK, StillUsed, converge
from domain.aggregate import Done, NotDone
from domain.backend import Backend
from domain.drift import Drift, Remedy
from domain.ports import (
    Adopted,
    DriverFailed,
    Export,
    HalfReverted,
    Survey,
    Untidy,
    VolumeIsBusy,
    unheard,
)
from domain.provenance import MOMENT, Moment, Provenance
from domain.volume import Volume
from domain.volume_status import ALREADY_MANAGED

VOLUME = UUID(int=1)
NAMED = {"source-name": "db"}


class Heard:
    """A driver that writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def remove_export(self, _: UUID) -> None:
        self.asked.append("remove_export")

    def unmanage(self, _: UUID, made_at: str | None) -> dict[str, str] | None:
        self.asked.append(("unmanage", made_at))
        return NAMED

    def adopt(self, *_: Any) -> Adopted:
        self.asked.append("adopt")
        return Adopted("/volumes/db", 3)


def repair(drift: Drift) -> Any:
    return Backend.RepairStarted(
        originator_id=UUID(int=2),
        originator_version=1,
        timestamp=MOMENT.get().timestamp,
        provenance=Provenance(),
        status="enabled",
        backend="lvm",
        noun="volume",
        subject=str(VOLUME),
        drift=drift,
        remedy=Remedy.CONVERGE,
        turn=VOLUME,
    )


def managing() -> Volume:
    return Volume.manage(VOLUME, backend="files", reference=NAMED)


def asked_for(volume: Volume) -> list[Any]:
    """Return what a driver is asked for the newest intent."""
    driver: Any = Heard()
    intent: Any = volume.in_flight[max(volume.in_flight)]
    assert isinstance(WORK[intent.TOPIC](driver, intent, CAUSE, unheard), Done)
    asked: list[Any] = driver.asked
    return asked


def test_storage_is_taken_over_at_once() -> None:
    assert asked_for(managing()) == ["adopt"]


def test_what_an_earlier_attempt_took_is_let_go_of_first() -> None:
    volume = managing()
    volume.report(1, NotDone("deadline", "too late"))
    first = volume.created_at
    volume.manage_again(backend="files", reference=NAMED)

    assert asked_for(volume) == [("unmanage", first.isoformat()), "adopt"]


def tried(volume: Volume, code: str, day: int) -> str:
    """Let an attempt fail, and ask again on that day; return when it was asked."""
    asked_at = volume.created_at.isoformat()
    again_at = datetime(2026, 1, day, tzinfo=UTC)
    MOMENT.set(Moment(again_at, Provenance()))
    volume.report(max(volume.in_flight), NotDone(code, "it was not taken over"))
    volume.manage_again(backend="files", reference=NAMED)
    return asked_at


def test_what_any_attempt_took_is_let_go_of_first() -> None:
    volume = managing()
    first = tried(volume, "deadline", 2)
    second = tried(volume, "driver_failed", 3)

    asked = asked_for(volume)

    assert asked == [("unmanage", first), ("unmanage", second), "adopt"]


def test_what_was_let_go_of_is_let_go_of_no_more() -> None:
    volume = managing()
    tried(volume, "deadline", 2)
    second = tried(volume, ALREADY_MANAGED, 3)  # so it had let go of the first

    assert asked_for(volume) == [("unmanage", second), "adopt"]


def test_a_volume_is_let_go_of_once_nobody_reaches_it() -> None:
    volume = managing()
    volume.report(1, Done(size_gib=3))
    volume.unmanage()

    assert asked_for(volume) == [
        "remove_export",
        ("unmanage", volume.created_at.isoformat()),
    ]


@pytest.mark.parametrize("command", ["unmanage", "delete"])
def test_what_was_never_ours_is_let_go_of_whenever_it_was_taken(command: str) -> None:
    volume = managing()
    volume.report(1, NotDone("deadline", "too late"))
    getattr(volume, command)()

    assert asked_for(volume) == ["remove_export", ("unmanage", None)]


@pytest.mark.parametrize("command", ["unmanage", "delete"])
def test_what_was_left_alone_since_others_have_it_stays_theirs(command: str) -> None:
    volume = managing()
    volume.report(1, NotDone(ALREADY_MANAGED, "made for another event"))
    asked_at = volume.created_at.isoformat()
    getattr(volume, command)()

    assert asked_for(volume) == [("unmanage", asked_at)]


class Opened:
    """A driver whose volume no host uses, and somebody on its machine does."""

    def converge(self, _: Export) -> bool:
        return False

    def has_session(self, *_: Any) -> bool:
        return False

    def survey(self) -> Survey:
        return Survey(used=frozenset({VOLUME}))


def test_a_session_that_is_no_hosts_is_not_repaired() -> None:
    driver: Any = Opened()

    with pytest.raises(StillUsed, match="let in by nobody") as raised:
        converge(driver, VOLUME, repair(Drift.SESSION_WITHOUT_ATTACHMENT), unheard)

    # `fuser` shows no device that is made of another.
    assert "`fuser`" in str(raised.value)
    assert "`dmsetup ls --tree`" in str(raised.value)


def test_of_an_export_alone_it_is_not_asked_who_has_it_open() -> None:
    driver: Any = Opened()

    converge(driver, VOLUME, repair(Drift.EXPORT_UNEXPLAINED), unheard)


class Failing:
    """A driver that reverts nothing, for a reason."""

    def __init__(self, why: DriverFailed) -> None:
        self._why = why

    def remove_export(self, _: UUID) -> None: ...

    def revert(self, *_: Any) -> None:
        raise self._why


@pytest.mark.parametrize(
    ("why", "as_before"),
    [
        (DriverFailed("no room"), True),
        (Untidy(VOLUME, DriverFailed("no room")), False),
        (HalfReverted(VOLUME, "/dev/lvm/before"), False),
    ],
)
def test_a_volume_is_as_before_only_where_it_holds_what_it_did(
    why: DriverFailed, *, as_before: bool
) -> None:
    volume, driver = managing(), Failing(why)
    volume.report(1, Done(size_gib=3))
    volume.add_snapshot(UUID(int=3), force=False)
    volume.revert(UUID(int=3), MOMENT.get().timestamp, 3)
    intent: Any = volume.in_flight[max(volume.in_flight)]

    with pytest.raises(DriverFailed) as raised:
        WORK[intent.TOPIC](driver, intent, CAUSE, unheard)  # type: ignore[arg-type]

    assert isinstance(raised.value, VolumeIsBusy) == as_before
