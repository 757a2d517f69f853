"""What every driver must do about what volumes held at one moment, and its copies."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import pytest

from adapters.contracts.drivers import (
    CAUSE,
    GIB,
    NODE_1,
    Suite,
    asked,
    counted,
    device,
    intent,
    read,
    size,
    write,
)
from domain import reference
from domain.group_snapshot import GroupSnapshot, GroupSnapshotStatus, Member
from domain.ports import (
    AlreadyManaged,
    Cause,
    Driver,
    DriverFailed,
    ManageableSnapshot,
    SourceReference,
    UnknownReference,
    VolumeIsBusy,
)
from domain.snapshot import Snapshot, SnapshotStatus
from domain.volume import Volume
from domain.volume_status import Status

LATER = Cause(8, "2026-02-03T04:05:06+00:00")
MIB = 1024**2
PLACES = (0, 4096, GIB // 2, GIB - 4096)


def wanted(
    volume_id: UUID, snapshot_id: UUID | None = None, size_gib: int = 1
) -> Snapshot.Created:
    """Return the event that asks for a snapshot."""
    return intent(
        Snapshot.Created,
        SnapshotStatus.CREATING,
        snapshot_id,
        volume_id=volume_id,
        size_gib=size_gib,
    )


def copy_of(
    source_id: UUID,
    kind: str = "snapshot",
    size_gib: int = 1,
    source_size_gib: int | None = 1,
) -> Volume.Created:
    """Return the event that asks for a volume made of a snapshot or a volume."""
    made_of = {"source": {kind: source_id}, "source_size_gib": source_size_gib}
    return msgspec.structs.replace(asked(size_gib), **made_of)


def reversion(
    volume_id: UUID, snapshot_id: UUID, taken_for: Cause = CAUSE, size_gib: int = 1
) -> Volume.ReversionStarted:
    """Return the event that asks for a volume to be as its snapshot."""
    return intent(
        Volume.ReversionStarted,
        Status.REVERTING,
        volume_id,
        snapshot_id=snapshot_id,
        snapshot_made_at=datetime.fromisoformat(taken_for.at),
        previous_status=Status.AVAILABLE,
        size_gib=size_gib,
    )


def together(*volume_ids: UUID, consistent: bool = True) -> GroupSnapshot.Created:
    """Return the event that asks for snapshots of several volumes."""
    return intent(
        GroupSnapshot.Created,
        GroupSnapshotStatus.CREATING,
        group_id=uuid4(),
        consistent=consistent,
        members=[Member(uuid4(), volume_id, 1) for volume_id in volume_ids],
    )


def managed(
    volume_id: UUID, name: str, snapshot_id: UUID | None = None, size_gib: int = 1
) -> Snapshot.ManagingStarted:
    """Return the event that asks for storage to be taken over as a snapshot."""
    return intent(
        Snapshot.ManagingStarted,
        SnapshotStatus.CREATING,
        snapshot_id,
        volume_id=volume_id,
        size_gib=size_gib,
        reference=reference.to(name),
    )


class SnapshotContract(Suite):
    """The promises about snapshots and copies, one fact a test.

    A subclass provides the fixture `driver`, as `DriverContract` has it.
    """

    @pytest.fixture
    def written(self, driver: Driver) -> UUID:
        """A volume of 1 GiB with "before" in some places."""
        event = asked()
        driver.create(event, CAUSE)
        fill(device(driver, event.originator_id), b"before")
        return event.originator_id

    @pytest.fixture
    def snapshot(self, driver: Driver, written: UUID) -> UUID:
        """A snapshot of that volume, which holds "after!" since."""
        event = wanted(written)
        driver.take_snapshot(event, CAUSE)
        fill(device(driver, written), b"after!")
        return event.originator_id

    # Taking snapshots

    def test_a_snapshot_keeps_what_its_volume_held(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        made = copy_of(snapshot)
        driver.create(made, CAUSE)

        assert held(device(driver, made.originator_id)) == {b"before"}
        assert held(device(driver, written)) == {b"after!"}

    def test_taking_a_snapshot_twice_is_taking_it_once(
        self, driver: Driver, written: UUID
    ) -> None:
        event = wanted(written)
        location = driver.take_snapshot(event, CAUSE)
        fill(device(driver, written), b"after!")

        assert driver.take_snapshot(event, CAUSE) == location
        assert self.restarted(driver).take_snapshot(event, CAUSE) == location

        assert kept(driver, event.originator_id) == {b"before"}

    @pytest.mark.parametrize("other", [Cause(8, CAUSE.at), Cause(7, LATER.at)])
    def test_a_snapshot_taken_for_another_cause_is_not_adopted(
        self, driver: Driver, written: UUID, snapshot: UUID, other: Cause
    ) -> None:
        with pytest.raises(DriverFailed):
            driver.take_snapshot(wanted(written, snapshot), other)

        assert kept(driver, snapshot) == {b"before"}

    def test_of_an_absent_volume_no_snapshot_is_taken(self, driver: Driver) -> None:
        before = counted(driver)

        with pytest.raises(DriverFailed):
            driver.take_snapshot(wanted(uuid4()), CAUSE)

        assert counted(driver) == before

    def test_a_volume_that_is_read_can_be_snapshot(
        self, driver: Driver, written: UUID
    ) -> None:
        event = wanted(written)
        with device(driver, written).open("rb"):
            driver.take_snapshot(event, CAUSE)

        assert kept(driver, event.originator_id) == {b"before"}

    def test_each_of_several_snapshots_keeps_what_was_there_when_it_was_taken(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        second = wanted(written)
        driver.take_snapshot(second, LATER)
        fill(device(driver, written), b"latest")

        for source, what in ((snapshot, b"before"), (second.originator_id, b"after!")):
            assert kept(driver, source) == {what}

    def test_what_grew_since_is_not_in_the_snapshot(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        driver.extend(written, 2)

        made = copy_of(snapshot)
        driver.create(made, CAUSE)

        assert size(device(driver, made.originator_id)) == GIB

    def test_a_snapshot_takes_room_and_is_no_volume(
        self, driver: Driver, snapshot: UUID
    ) -> None:
        assert counted(driver) == (1, 2.0)
        assert counted(self.restarted(driver)) == (1, 2.0)

    # Deleting snapshots

    def test_a_deleted_snapshot_is_gone_and_its_volume_stays(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        driver.delete_snapshot(snapshot, CAUSE.at)

        with pytest.raises(DriverFailed):
            driver.create(copy_of(snapshot), CAUSE)
        assert held(device(driver, written)) == {b"after!"}
        assert counted(driver) == (1, 1.0)

    def test_deleting_a_snapshot_twice_is_deleting_it_once(
        self, driver: Driver, snapshot: UUID
    ) -> None:
        driver.delete_snapshot(snapshot, CAUSE.at)
        driver.delete_snapshot(snapshot, CAUSE.at)
        self.restarted(driver).delete_snapshot(snapshot, CAUSE.at)

        assert counted(driver) == (1, 1.0)

    def test_a_snapshot_that_never_was_counts_as_deleted(
        self, driver: Driver, snapshot: UUID
    ) -> None:
        driver.delete_snapshot(uuid4(), CAUSE.at)

        assert counted(driver) == (1, 2.0)

    def test_a_snapshot_taken_at_another_time_is_not_deleted(
        self, driver: Driver, snapshot: UUID
    ) -> None:
        driver.delete_snapshot(snapshot, LATER.at)

        assert counted(driver) == (1, 2.0)

    def test_the_snapshot_between_two_others_can_be_deleted(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        second, third = wanted(written), wanted(written)
        driver.take_snapshot(second, CAUSE)
        fill(device(driver, written), b"latest")
        driver.take_snapshot(third, CAUSE)

        driver.delete_snapshot(second.originator_id, CAUSE.at)

        for source, what in ((snapshot, b"before"), (third.originator_id, b"latest")):
            assert kept(driver, source) == {what}

    # Surveying

    def test_a_survey_tells_of_a_snapshot_and_its_volume(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        found = {each.noun: each for each in driver.survey().objects}

        taken = found["snapshot"]
        assert (taken.id, taken.of, taken.lacks) == (snapshot, written, ())
        assert (taken.size_bytes, taken.made_at) == (GIB, CAUSE.at)

    # Copying

    def test_a_copy_of_a_volume_holds_what_that_does(
        self, driver: Driver, written: UUID
    ) -> None:
        made = copy_of(written, "volume")

        driver.create(made, CAUSE)

        assert held(device(driver, made.originator_id)) == {b"before"}
        assert counted(driver) == (2, 2.0)

    @pytest.mark.parametrize("kind", ["snapshot", "volume"])
    def test_a_copy_and_its_source_are_written_apart(
        self, driver: Driver, written: UUID, kind: str
    ) -> None:
        source = written
        if kind == "snapshot":
            event = wanted(written)
            driver.take_snapshot(event, CAUSE)
            source = event.originator_id
        made, twin = copy_of(source, kind), copy_of(source, kind)
        driver.create(made, CAUSE)

        fill(device(driver, made.originator_id), b"copied")

        driver.create(twin, CAUSE)
        assert held(device(driver, written)) == {b"before"}
        assert held(device(driver, twin.originator_id)) == {b"before"}
        assert held(device(driver, made.originator_id)) == {b"copied"}

    @pytest.mark.parametrize("kind", ["snapshot", "volume"])
    def test_a_copy_that_is_larger_reads_as_zeros_behind(
        self, driver: Driver, written: UUID, snapshot: UUID, kind: str
    ) -> None:
        made = copy_of({"snapshot": snapshot, "volume": written}[kind], kind, 2)

        driver.create(made, CAUSE)

        path = device(driver, made.originator_id)
        assert size(path) == 2 * GIB
        assert len(held(path)) == 1
        for offset in (GIB, 2 * GIB - 4096):
            assert read(path, offset) == bytes(4096)

    @pytest.mark.parametrize("kind", ["snapshot", "volume"])
    def test_a_copy_outlives_its_source(
        self, driver: Driver, written: UUID, kind: str
    ) -> None:
        event = wanted(written)
        driver.take_snapshot(event, CAUSE)
        source = {"snapshot": event.originator_id, "volume": written}[kind]
        made = copy_of(source, kind)
        driver.create(made, CAUSE)

        driver.delete_snapshot(event.originator_id, CAUSE.at)
        if kind == "volume":
            driver.delete(written, CAUSE.at)

        assert held(device(driver, made.originator_id)) == {b"before"}

    def test_copying_again_keeps_what_was_written(
        self, driver: Driver, written: UUID
    ) -> None:
        made = copy_of(written, "volume")
        location = driver.create(made, CAUSE)
        fill(device(driver, made.originator_id), b"copied")

        assert driver.create(made, CAUSE) == location
        assert self.restarted(driver).create(made, CAUSE) == location
        assert held(device(driver, made.originator_id)) == {b"copied"}

    @pytest.mark.parametrize("kind", ["snapshot", "volume"])
    def test_of_what_is_absent_no_copy_is_made(self, driver: Driver, kind: str) -> None:
        before = counted(driver)

        with pytest.raises(DriverFailed):
            driver.create(copy_of(uuid4(), kind), CAUSE)

        assert counted(driver) == before

    def test_what_is_copied_stays_as_it_was(
        self, driver: Driver, written: UUID
    ) -> None:
        made = copy_of(written, "volume")

        driver.create(made, CAUSE)
        driver.delete(made.originator_id, CAUSE.at)

        assert held(device(driver, written)) == {b"before"}
        assert counted(driver) == (1, 1.0)

    # Reverting

    def test_a_reverted_volume_holds_what_its_snapshot_does(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        driver.revert(reversion(written, snapshot), CAUSE)

        assert held(device(driver, written)) == {b"before"}
        assert kept(driver, snapshot) == {b"before"}
        assert counted(driver) == (1, 2.0)

    def test_what_was_written_where_nothing_was_is_gone_once_reverted(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        write(device(driver, written), GIB // 4, b"since")

        driver.revert(reversion(written, snapshot), CAUSE)

        assert read(device(driver, written), GIB // 4, 5) == bytes(5)

    def test_reverting_twice_is_reverting_once(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        event = reversion(written, snapshot)
        driver.revert(event, LATER)
        fill(device(driver, written), b"latest")

        driver.revert(event, LATER)
        self.restarted(driver).revert(event, LATER)

        assert held(device(driver, written)) == {b"latest"}

    def test_a_volume_can_be_reverted_again_for_another_cause(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        event = reversion(written, snapshot)
        driver.revert(event, CAUSE)
        fill(device(driver, written), b"latest")

        driver.revert(event, LATER)

        assert held(device(driver, written)) == {b"before"}
        assert counted(driver) == (1, 2.0)

    def test_a_reverted_volume_is_a_volume_like_others(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        driver.revert(reversion(written, snapshot), LATER)

        driver = self.restarted(driver)
        fill(device(driver, written), b"latest")
        assert kept(driver, snapshot) == {b"before"}
        driver.delete_snapshot(snapshot, CAUSE.at)
        driver.extend(written, 2)
        assert held(device(driver, written)) == {b"latest"}
        driver.delete(written, CAUSE.at)
        assert counted(driver) == (0, 0.0)

    def test_a_volume_in_use_is_not_reverted(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        event = reversion(written, snapshot)
        with device(driver, written).open("rb"), pytest.raises(VolumeIsBusy):
            driver.revert(event, CAUSE)

        assert held(device(driver, written)) == {b"after!"}
        driver.revert(event, CAUSE)
        assert held(device(driver, written)) == {b"before"}

    def test_what_cannot_be_reverted_stays_as_it_was(
        self, driver: Driver, written: UUID
    ) -> None:
        with pytest.raises(DriverFailed):
            driver.revert(reversion(written, uuid4()), CAUSE)

        assert held(device(driver, written)) == {b"before"}
        assert counted(driver) == (1, 1.0)

    def test_nothing_is_made_of_what_holds_less_than_it_should(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        before = counted(driver)
        larger = {"size_gib": 2, "source_size_gib": 2}

        for asked_for in (
            copy_of(snapshot, "snapshot", **larger),
            copy_of(written, "volume", **larger),
        ):
            with pytest.raises(DriverFailed, match="cut short"):
                driver.create(asked_for, CAUSE)
        with pytest.raises(DriverFailed, match="cut short"):
            driver.revert(reversion(written, snapshot, size_gib=2), LATER)
        with pytest.raises(DriverFailed, match="cut short"):
            driver.take_snapshot(wanted(written, size_gib=2), CAUSE)
        for consistent in (True, False):
            event = together(consistent=consistent)
            event.members.append(Member(uuid4(), written, 2))
            with pytest.raises(DriverFailed, match="cut short"):
                driver.take_group_snapshot(event, CAUSE)

        assert counted(driver) == before
        assert held(device(driver, written)) == {b"after!"}

    # Several at once

    @pytest.mark.parametrize("consistent", [True, False])
    def test_the_snapshots_of_a_group_keep_what_its_volumes_held(
        self, driver: Driver, written: UUID, *, consistent: bool
    ) -> None:
        other = copy_of(written, "volume")
        driver.create(other, CAUSE)
        volumes = {written: b"before", other.originator_id: b"others"}
        fill(device(driver, other.originator_id), b"others")
        event = together(*volumes, consistent=consistent)

        at_one_moment = driver.take_group_snapshot(event, CAUSE)

        assert at_one_moment is consistent
        assert counted(driver) == (2, 4.0)
        for volume in volumes:
            fill(device(driver, volume), b"after!")
        for member in event.members:
            assert kept(driver, member.snapshot_id) == {volumes[member.volume_id]}

    def test_taking_a_group_snapshot_twice_is_taking_it_once(
        self, driver: Driver, written: UUID
    ) -> None:
        event = together(written)
        [member] = event.members
        first = driver.take_group_snapshot(event, CAUSE)
        fill(device(driver, written), b"after!")

        assert driver.take_group_snapshot(event, CAUSE) == first
        assert self.restarted(driver).take_group_snapshot(event, CAUSE) == first
        assert kept(driver, member.snapshot_id) == {b"before"}

    @pytest.mark.parametrize("consistent", [True, False])
    def test_a_group_snapshot_that_lacks_one_keeps_none(
        self, driver: Driver, written: UUID, *, consistent: bool
    ) -> None:
        event = together(written, uuid4(), consistent=consistent)

        with pytest.raises(DriverFailed):
            driver.take_group_snapshot(event, CAUSE)

        assert counted(driver) == (1, 1.0)

    def test_a_snapshot_of_a_group_is_a_snapshot_like_others(
        self, driver: Driver, written: UUID
    ) -> None:
        event = together(written)
        [member] = event.members
        driver.take_group_snapshot(event, CAUSE)

        driver.delete_snapshot(member.snapshot_id, CAUSE.at)

        assert counted(driver) == (1, 1.0)

    def test_a_driver_that_takes_groups_at_one_moment_says_so(
        self, driver: Driver
    ) -> None:
        assert driver.capabilities().consistent_group_snapshot_enabled

    # In use or not

    def test_what_nobody_uses_is_unused(self, driver: Driver, written: UUID) -> None:
        device(driver, written)

        driver.check_unused([written, uuid4()])

    def test_one_that_is_in_use_is_told_among_others(
        self, driver: Driver, volume: UUID, written: UUID
    ) -> None:
        with device(driver, written).open("rb"), pytest.raises(VolumeIsBusy):
            driver.check_unused([volume, written])

    # Letting go and taking over

    def test_a_snapshot_that_is_let_go_can_be_taken_over_again(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        told = driver.unmanage_snapshot(snapshot, CAUSE.at)

        assert told
        assert driver.manageable_snapshots() == [
            offered(written, reference.name_in(told))
        ]
        again = managed(written, reference.name_in(told))
        assert driver.adopt_snapshot(again, LATER).size_gib == 1
        assert kept(driver, again.originator_id) == {b"before"}
        assert counted(driver) == (1, 2.0)

    def test_a_snapshot_can_come_back_under_its_id(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        told = driver.unmanage_snapshot(snapshot, CAUSE.at)

        assert told
        event = managed(written, reference.name_in(told), snapshot)
        driver.adopt_snapshot(event, LATER)

        assert kept(driver, snapshot) == {b"before"}

    def test_letting_a_snapshot_go_twice_is_letting_it_go_once(
        self, driver: Driver, snapshot: UUID
    ) -> None:
        told = driver.unmanage_snapshot(snapshot, CAUSE.at)

        assert driver.unmanage_snapshot(snapshot, CAUSE.at) == told
        assert self.restarted(driver).unmanage_snapshot(snapshot, CAUSE.at) == told

    def test_what_was_taken_at_another_time_or_never_is_not_let_go(
        self, driver: Driver, snapshot: UUID
    ) -> None:
        assert driver.unmanage_snapshot(snapshot, LATER.at) is None
        assert driver.unmanage_snapshot(uuid4(), CAUSE.at) is None

        assert counted(driver) == (1, 2.0)

    def test_taking_a_snapshot_over_twice_is_taking_it_over_once(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        told = driver.unmanage_snapshot(snapshot, CAUSE.at)
        assert told
        event = managed(written, reference.name_in(told))

        adopted = driver.adopt_snapshot(event, LATER)

        assert driver.adopt_snapshot(event, LATER) == adopted
        assert self.restarted(driver).adopt_snapshot(event, LATER) == adopted
        assert counted(driver) == (1, 2.0)

    def test_a_snapshot_that_was_taken_over_is_one_like_others(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        told = driver.unmanage_snapshot(snapshot, CAUSE.at)
        assert told
        event = managed(written, reference.name_in(told))
        driver.adopt_snapshot(event, LATER)

        driver.revert(reversion(written, event.originator_id, LATER), LATER)
        assert held(device(driver, written)) == {b"before"}
        driver.delete_snapshot(event.originator_id, LATER.at)

        assert counted(driver) == (1, 1.0)
        assert driver.manageable_snapshots() == []

    def test_what_is_no_snapshot_of_that_volume_is_not_taken_over(
        self, driver: Driver, volume: UUID, written: UUID, snapshot: UUID
    ) -> None:
        told = driver.unmanage_snapshot(snapshot, CAUSE.at)
        assert told

        for name in (reference.name_in(told), "nothing", "..", "a/b", ""):
            with pytest.raises(UnknownReference):
                driver.adopt_snapshot(managed(volume, name), LATER)

        assert driver.manageable_snapshots() == [
            offered(written, reference.name_in(told))
        ]

    def test_what_there_is_none_of_says_where_those_are_listed(
        self, driver: Driver, volume: UUID
    ) -> None:
        with pytest.raises(UnknownReference, match="`holdfast snapshot manageable`"):
            driver.adopt_snapshot(managed(volume, "nothing"), CAUSE)

    def test_what_is_a_snapshot_already_is_not_taken_over(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        with pytest.raises(AlreadyManaged):
            driver.adopt_snapshot(
                managed(written, reference.name_of_snapshot(snapshot)), LATER
            )

        assert counted(driver) == (1, 2.0)

    def test_all_that_is_a_snapshot_is_listed_by_name(
        self, driver: Driver, written: UUID, snapshot: UUID
    ) -> None:
        second = wanted(written)
        driver.take_snapshot(second, CAUSE)

        listed = driver.manageable_snapshots()

        ids = sorted([snapshot, second.originator_id], key=str)
        assert [each.id for each in listed] == ids
        assert [each.reference for each in listed] == [
            reference.to(reference.name_of_snapshot(each)) for each in ids
        ]
        assert not any(each.safe_to_manage for each in listed)
        assert {each.reason_not_safe for each in listed} == {"already managed"}
        assert {each.source_reference for each in listed} == {SourceReference(written)}


class AnySizeContract(Suite):
    """The promises about what came as a snapshot and can have any size."""

    def bring_snapshot(
        self, driver: Driver, volume_id: UUID, name: str, size_bytes: int
    ) -> None:
        """Put a snapshot of a volume there that is nobody's."""
        raise NotImplementedError

    @pytest.mark.parametrize(
        ("size_bytes", "why"),
        [
            (4 * MIB, "no whole GiB"),
            (GIB - 4 * MIB, "no whole GiB"),
            (GIB + GIB // 2, "no whole GiB"),
            (2 * GIB + 4 * MIB, "larger than"),
            (3 * GIB, "larger than"),
        ],
    )
    def test_what_has_a_size_that_its_volume_never_had_is_no_snapshot_of_it(
        self, driver: Driver, size_bytes: int, why: str
    ) -> None:
        volume = asked(size_gib=2)
        driver.create(volume, CAUSE)
        self.bring_snapshot(driver, volume.originator_id, "monday", size_bytes)

        with pytest.raises(UnknownReference, match=why):
            driver.adopt_snapshot(
                managed(volume.originator_id, "monday", None, 2), LATER
            )

        [listed] = driver.manageable_snapshots()
        assert not listed.safe_to_manage
        assert why in str(listed.reason_not_safe)
        assert listed.source_reference == SourceReference(volume.originator_id)

    def test_what_is_smaller_was_taken_before_its_volume_grew(
        self, driver: Driver
    ) -> None:
        volume = asked(size_gib=2)
        driver.create(volume, CAUSE)
        self.bring_snapshot(driver, volume.originator_id, "monday", GIB)

        [listed] = driver.manageable_snapshots()
        event = managed(volume.originator_id, "monday", None, 2)
        adopted = driver.adopt_snapshot(event, LATER)

        assert listed == offered(volume.originator_id, "monday")
        assert adopted.size_gib == 1


def offered(volume_id: UUID, name: str) -> ManageableSnapshot:
    """Return what is said of a snapshot of 1 GiB that can be taken over."""
    return ManageableSnapshot(
        reference.to(name),
        1,
        safe_to_manage=True,
        source_reference=SourceReference(volume_id),
    )


def kept(driver: Driver, snapshot_id: UUID) -> set[bytes]:
    """Return what a snapshot holds, by a copy."""
    made = copy_of(snapshot_id)
    driver.create(made, CAUSE)
    found = held(device(driver, made.originator_id))
    driver.disconnect(made.originator_id, NODE_1)
    driver.delete(made.originator_id, CAUSE.at)
    return found


def fill(path: Path, data: bytes) -> None:
    """Write to some places of a volume."""
    for offset in PLACES:
        write(path, offset, data)


def held(path: Path) -> set[bytes]:
    """Return what is in those places: one thing, unless it is a mixture."""
    return {read(path, offset, 6) for offset in PLACES}
