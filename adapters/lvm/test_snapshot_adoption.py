"""Snapshots that are taken over and let go, thin and thick."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from adapters.contracts.adoption import wanted
from adapters.contracts.drivers import (
    CAUSE,
    GIB,
    device,
    read,
    write,
)
from adapters.contracts.snapshots import copy_of, managed, offered, reversion
from adapters.contracts.snapshots import wanted as taken
from adapters.lvm.copies import (
    LATER,
    MIB,
    held,
    names,
)
from adapters.lvm.driver import LvmDriver
from adapters.lvm.failures import AlreadyThere, NoSpace
from adapters.lvm.test_driver import fresh
from adapters.lvm.testing import DISKS, GROUP, lvcreate, lvm
from domain import reference
from domain.ports import (
    AlreadyManaged,
    SourceReference,
    UnknownReference,
    VolumeIsBusy,
)

pytestmark = pytest.mark.lvm(disks=DISKS)


def bring(kind: str, volume_id: UUID, name: str = "nightly") -> None:
    """Take a snapshot that is nobody's."""
    room = [] if kind == "thin" else ["-L", "1g"]
    lvm("lvcreate", "-y", "-s", *room, "-n", name, f"{GROUP}/volume-{volume_id}")


def test_a_snapshot_is_taken_over_with_what_it_holds(
    driver: LvmDriver, volume: UUID, kind: str
) -> None:
    bring(kind, volume)
    write(device(driver, volume), 4096, b"behind")
    event = managed(volume, "nightly")

    adopted = driver.adopt_snapshot(event, CAUSE)

    assert driver.adopt_snapshot(event, CAUSE) == adopted
    assert fresh(kind).adopt_snapshot(event, CAUSE) == adopted
    assert adopted.size_gib == 1
    assert adopted.location == f"/dev/{GROUP}/_snapshot-{event.originator_id}"
    copy = copy_of(event.originator_id)
    driver = fresh(kind)
    driver.create(copy, CAUSE)
    assert read(device(driver, copy.originator_id), 4096, 6) == b"before"
    driver.delete_snapshot(event.originator_id, CAUSE.at)


def test_what_is_no_snapshot_of_the_volume_is_not_taken_over(
    driver: LvmDriver, volumes: list[UUID], snapshot: UUID, kind: str
) -> None:
    bring(kind, volumes[0])
    clone = copy_of(volumes[0], "volume")
    driver.create(clone, CAUSE)
    before = names()

    for volume_id, name in (
        (volumes[1], "nightly"),
        (volumes[0], "nothing"),
        (volumes[0], ".."),
        (volumes[0], f"volume-{volumes[1]}"),
    ):
        with pytest.raises((UnknownReference, AlreadyManaged)):
            driver.adopt_snapshot(managed(volume_id, name), CAUSE)
    for name in (f"_snapshot-{snapshot}", f"volume-{clone.originator_id}"):
        with pytest.raises(AlreadyManaged):
            driver.adopt_snapshot(managed(volumes[0], name), CAUSE)

    assert names() == before


def test_a_snapshot_of_what_is_no_volume_cannot_be_taken_over(
    driver: LvmDriver, volume: UUID, kind: str
) -> None:
    bring(kind, volume)
    driver.unmanage(volume, CAUSE.at)

    [listed] = driver.manageable_snapshots()

    assert not listed.safe_to_manage
    assert listed.reason_not_safe == f"it is one of volume-{volume}, which is no volume"
    assert listed.source_reference is None
    with pytest.raises(UnknownReference):
        driver.adopt_snapshot(managed(volume, "nightly"), CAUSE)


def test_a_snapshot_whose_name_is_taken_is_left_as_it_was(
    driver: LvmDriver, volume: UUID, kind: str
) -> None:
    bring(kind, volume)
    event = managed(volume, "nightly")
    lvcreate(kind, f"_snapshot-{event.originator_id}", MIB)
    before = lvm("lvs", "-o", "lv_name,lv_size,lv_tags", GROUP)

    with pytest.raises(AlreadyThere):
        driver.adopt_snapshot(event, CAUSE)

    assert lvm("lvs", "-o", "lv_name,lv_size,lv_tags", GROUP) == before


def test_a_snapshot_in_use_is_neither_taken_over_nor_let_go(
    driver: LvmDriver, volume: UUID, kind: str
) -> None:
    bring(kind, volume)
    lvm("lvchange", "-ay", "-K", "-y", f"{GROUP}/nightly")
    event = managed(volume, "nightly")
    path = Path("/dev", GROUP, "nightly")

    with path.open("rb"):
        [listed] = driver.manageable_snapshots()
        with pytest.raises(VolumeIsBusy):
            driver.adopt_snapshot(event, CAUSE)
    assert not listed.safe_to_manage

    taken = Path(driver.adopt_snapshot(event, CAUSE).location)
    with taken.open("rb"), pytest.raises(VolumeIsBusy):
        driver.unmanage_snapshot(event.originator_id, CAUSE.at)


def test_what_is_let_go_can_be_taken_over_again(
    driver: LvmDriver, volume: UUID, snapshot: UUID, kind: str
) -> None:
    assert driver.unmanage_snapshot(snapshot, LATER.at) is None
    [listed] = driver.manageable_snapshots()
    assert (listed.id, listed.safe_to_manage) == (snapshot, False)

    told = driver.unmanage_snapshot(snapshot, CAUSE.at)

    assert told == reference.to(f"_snapshot-{snapshot}")
    assert driver.unmanage_snapshot(snapshot, CAUSE.at) == told
    assert driver.unmanage_snapshot(uuid4(), CAUSE.at) is None
    assert driver.manageable_snapshots() == [offered(volume, f"_snapshot-{snapshot}")]
    assert driver.delete_snapshot(snapshot, CAUSE.at) is None
    again = managed(volume, f"_snapshot-{snapshot}")
    driver.adopt_snapshot(again, CAUSE)
    copy = copy_of(again.originator_id)
    driver.create(copy, CAUSE)
    assert held(driver, copy.originator_id) == {b"before"}


def test_what_was_let_go_is_its_volumes_after_a_reversion(
    driver: LvmDriver, volume: UUID, snapshot: UUID, kind: str
) -> None:
    driver.unmanage_snapshot(snapshot, CAUSE.at)
    latest = taken(volume)
    driver.take_snapshot(latest, CAUSE)
    driver.revert(reversion(volume, latest.originator_id), LATER)
    name = f"_snapshot-{snapshot}"
    assert offered(volume, name) in fresh(kind).manageable_snapshots()

    again = managed(volume, name)
    driver.adopt_snapshot(again, LATER)

    copy = copy_of(again.originator_id)
    driver.create(copy, CAUSE)
    assert held(driver, copy.originator_id) == {b"before"}
    driver.delete_snapshot(latest.originator_id, CAUSE.at)
    driver.unmanage_snapshot(again.originator_id, LATER.at)
    if kind == "thin":
        driver.delete(volume, CAUSE.at)
        [left] = driver.manageable_snapshots()
        assert left.reason_not_safe == f"it is one of {volume}, which is no volume"


def test_a_volume_is_taken_over_with_the_snapshots_that_were_let_go(
    driver: LvmDriver, volume: UUID, snapshot: UUID, kind: str
) -> None:
    driver.unmanage_snapshot(snapshot, CAUSE.at)
    driver.unmanage(volume, CAUSE.at)
    by_name = {reference.name_in(each.reference): each for each in driver.manageable()}
    assert by_name[f"volume-{volume}"].safe_to_manage

    driver.adopt(wanted(f"volume-{volume}", volume), LATER)
    again = managed(volume, f"_snapshot-{snapshot}")
    driver.adopt_snapshot(again, LATER)

    driver.extend(volume, 2)
    copy = copy_of(again.originator_id)
    driver.create(copy, CAUSE)
    assert held(driver, copy.originator_id) == {b"before"}
    assert held(driver, volume) == {b"behind"}
    driver.delete_snapshot(again.originator_id, LATER.at)
    driver.delete(volume, LATER.at)


def test_what_nobody_manages_keeps_a_thick_volume_and_is_named(
    driver: LvmDriver, volume: UUID, snapshot: UUID, kind: str
) -> None:
    driver.unmanage_snapshot(snapshot, CAUSE.at)
    if kind == "thin":
        driver.check_unused([volume])
        driver.delete(volume, CAUSE.at)
        return
    for refused in (
        partial(driver.check_unused, [volume]),
        partial(driver.delete, volume, CAUSE.at),
    ):
        with pytest.raises(VolumeIsBusy, match=rf"not managed: _snapshot-{snapshot}"):
            refused()
    assert held(driver, volume) == {b"behind"}


@pytest.mark.parametrize("kind", ["default"])
def test_what_has_overflowed_is_no_snapshot(driver: LvmDriver, volume: UUID) -> None:
    lvm("lvcreate", "-s", "-L", "8m", "-n", "small", f"{GROUP}/volume-{volume}")
    with device(driver, volume).open("r+b") as file:
        file.write(b"x" * 32 * MIB)

    [found] = driver.manageable_snapshots()

    assert not found.safe_to_manage
    with pytest.raises(UnknownReference, match=str(found.reason_not_safe)):
        driver.adopt_snapshot(managed(volume, "small"), CAUSE)


@pytest.mark.parametrize("told", ["by a tag", "by LVM"])
def test_a_snapshot_of_another_volume_is_not_marked_as_this_ones(
    driver: LvmDriver, volumes: list[UUID], snapshot: UUID, told: str
) -> None:
    its, other = volumes
    name = f"{GROUP}/_snapshot-{snapshot}"
    more = [f"--addtag=holdfast.of={other}"] if told == "by a tag" else []
    lvm("lvchange", f"--deltag=holdfast.of={its}", *more, name)
    before = lvm("lvs", "-o", "lv_tags", name)
    wrong, right = (its, other) if more else (other, its)

    with pytest.raises(UnknownReference, match=f"it is none of {wrong}"):
        driver.mark("snapshot", snapshot, CAUSE, wrong)

    assert lvm("lvs", "-o", "lv_tags", name) == before
    if not more:
        driver.mark("snapshot", snapshot, CAUSE, right)
        assert f"holdfast.of={right}" in lvm("lvs", "-o", "lv_tags", name)[0]["lv_tags"]


@pytest.mark.parametrize("kind", ["default"])
@pytest.mark.parametrize("chunk", ["4k", "512k"])
@pytest.mark.parametrize("size", ["8m", "2g"])
def test_what_is_taken_over_has_room_for_all_to_change(
    driver: LvmDriver, volume: UUID, chunk: str, size: str
) -> None:
    take = "lvcreate", "-s", "-c", chunk, "-L", size, "-n", "theirs"
    lvm(*take, f"{GROUP}/volume-{volume}")
    event = managed(volume, "theirs")

    driver.adopt_snapshot(event, CAUSE)

    with device(driver, volume).open("r+b") as file:
        file.write(b"x" * 32 * MIB)
    copy = copy_of(event.originator_id)
    fresh("default").create(copy, CAUSE)
    assert held(driver, copy.originator_id) == {b"before"}


@pytest.mark.parametrize("kind", ["default"])
def test_what_nothing_can_cover_is_left_alone_as_it_was(
    driver: LvmDriver, volume: UUID
) -> None:
    lvm("lvcreate", "-s", "-L", "8m", "-n", "theirs", f"{GROUP}/volume-{volume}")
    lvm("lvcreate", "-y", "-Wn", "-l", "95%FREE", "-n", "rest", GROUP)
    before = lvm("lvs", "-o", "lv_name,lv_size,lv_tags", GROUP)

    with pytest.raises(NoSpace, match=r"it takes 1\.0 GiB more"):
        driver.adopt_snapshot(managed(volume, "theirs"), CAUSE)

    assert lvm("lvs", "-o", "lv_name,lv_size,lv_tags", GROUP) == before


@pytest.mark.parametrize("kind", ["default"])
def test_a_survey_sees_that_one_holds_nothing_any_more(
    driver: LvmDriver, volume: UUID, snapshot: UUID
) -> None:
    name = f"_snapshot-{snapshot}"
    lvm("lvreduce", "-f", "-y", "-L", "8m", f"{GROUP}/{name}")
    with device(driver, volume).open("r+b") as file:
        file.write(b"x" * 32 * MIB)

    told = {each.name: each.size_bytes for each in driver.survey().objects}

    assert told[name] == 0


@pytest.mark.parametrize("when", ["before", "since"])
def test_a_volume_is_not_removed_with_snapshots_that_others_made(
    group: str, when: str
) -> None:
    driver, volume = fresh("default"), uuid4()
    take = "lvcreate", "-s", "-L", "64m", "-n", "nightly"
    lvcreate("default", "db", GIB)
    if when == "before":
        lvm(*take, f"{group}/db")
    driver.adopt(wanted("db", volume), CAUSE)
    if when == "since":
        lvm(*take, f"{group}/volume-{volume}")

    for refused in (
        partial(driver.check_unused, [volume]),
        partial(driver.delete, volume, CAUSE.at),
    ):
        with pytest.raises(VolumeIsBusy, match="not managed: nightly"):
            refused()


def test_what_a_tag_says_that_names_no_snapshot_is_not_believed(
    driver: LvmDriver, volume: UUID, kind: str
) -> None:
    bring(kind, volume)
    lvm("lvchange", "--addtag=holdfast.snapshot=nightly", f"{GROUP}/nightly")

    [told] = driver.manageable_snapshots()

    assert told == offered(volume, "nightly")
    driver.adopt_snapshot(managed(volume, "nightly"), CAUSE)


def test_snapshots_are_listed_by_name_and_clones_are_none(
    driver: LvmDriver, volume: UUID, snapshot: UUID, kind: str
) -> None:
    bring(kind, volume)
    driver.create(copy_of(snapshot), CAUSE)

    ours, theirs = driver.manageable_snapshots()

    assert (ours.id, ours.reason_not_safe) == (snapshot, "already managed")
    assert ours.source_reference == SourceReference(volume)
    assert theirs == offered(volume, "nightly")
    free = {m.id for m in driver.manageable() if m.safe_to_manage}
    assert free <= {None}
