"""Logical volumes become volumes, thin and thick, those that Cinder made too."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID, uuid4

import pytest

from adapters.contracts.adoption import LATER, wanted
from adapters.contracts.drivers import (
    CAUSE,
    GIB,
    NODE_1,
    asked,
    device,
    read,
    write,
)
from adapters.lvm import worker
from adapters.lvm.driver import LvmDriver
from adapters.lvm.failures import AlreadyThere, AnothersToo
from adapters.lvm.test_driver import fresh
from adapters.lvm.testing import DISKS, GROUP, POOL, lvcreate, lvm
from domain import reference
from domain.ports import AlreadyManaged, Export, UnknownReference

pytestmark = pytest.mark.lvm(disks=DISKS)

VOLUME = UUID(int=1)


@pytest.fixture
def thin(group: str) -> LvmDriver:
    return fresh("thin")


@pytest.fixture
def thick(group: str) -> LvmDriver:
    return fresh("default")


def why_not(driver: LvmDriver, name: str) -> str:
    [found] = [m for m in driver.manageable() if m.reference == reference.to(name)]
    assert not found.safe_to_manage
    with pytest.raises(UnknownReference, match=str(found.reason_not_safe)):
        driver.adopt(wanted(name), CAUSE)
    return str(found.reason_not_safe)


def test_what_cinder_made_keeps_its_name_and_its_id(thick: LvmDriver) -> None:
    volume_id = uuid4()
    path = lvcreate("default", f"volume-{volume_id}", GIB)
    write(path, 4096, b"cinder's")

    adopted = thick.adopt(wanted(f"volume-{volume_id}", volume_id), CAUSE)

    assert adopted.location == str(path)
    assert read(device(thick, volume_id), 4096, 8) == b"cinder's"


def test_what_cinder_made_is_no_volume_until_it_is_managed(thick: LvmDriver) -> None:
    lvcreate("default", f"volume-{uuid4()}", GIB)

    [found] = thick.manageable()

    assert found.safe_to_manage
    assert thick.capabilities().total_volumes == 0


def test_what_is_let_go_has_nothing_of_ours_but_its_name(thick: LvmDriver) -> None:
    event = asked()
    thick.create(event, CAUSE)

    thick.unmanage(event.originator_id, CAUSE.at)

    [told] = lvm("lvs", "-o", "lv_name,lv_tags", GROUP)
    assert told == {"lv_name": f"volume-{event.originator_id}", "lv_tags": ""}


def test_a_pool_and_snapshots_are_listed_with_why_not(thin: LvmDriver) -> None:
    lvcreate("thin", "db", GIB)
    lvm("lvcreate", "-s", "-n", f"_snapshot-{VOLUME}", f"{GROUP}/db")

    assert "as a pool is" in why_not(thin, POOL)
    assert "it is a snapshot" in why_not(thin, f"_snapshot-{VOLUME}")


def test_a_thick_snapshot_is_listed_with_why_not(
    thick: LvmDriver,
) -> None:
    lvcreate("default", "db", GIB)
    lvm("lvcreate", "-s", "-L", "64m", "-n", "copy", f"{GROUP}/db")

    assert "it is a snapshot" in why_not(thick, "copy")


def test_what_is_read_only_in_lvm_is_listed_with_how_it_is_not(
    thick: LvmDriver,
) -> None:
    lvcreate("default", "kept", GIB)
    lvm("lvchange", "-pr", f"{GROUP}/kept")

    assert "lvchange -prw" in why_not(thick, "kept")
    lvm("lvchange", "-prw", f"{GROUP}/kept")
    assert thick.adopt(wanted("kept"), CAUSE).size_gib == 1


def test_what_says_that_it_is_another_volume_is_not_taken_over(
    thick: LvmDriver,
) -> None:
    lvcreate("default", "theirs", GIB)
    lvm("lvchange", f"--addtag=holdfast.volume={uuid4()}", f"{GROUP}/theirs")

    with pytest.raises(AlreadyManaged):
        thick.adopt(wanted("theirs"), CAUSE)


@pytest.mark.parametrize("other", ["the name", "the tag"])
def test_nobody_reaches_what_may_be_another_volume(
    thick: LvmDriver, other: str
) -> None:
    mine, theirs = (asked(volume_id=uuid4()) for _ in range(2))
    for each in (mine, theirs):
        thick.create(each, CAUSE)
    its, said = (f"volume-{e.originator_id}" for e in (theirs, mine))
    wrong = f"holdfast.volume={mine.originator_id}"
    lvm("lvchange", f"--deltag={wrong}", f"{GROUP}/{said}")
    lvm("lvchange", f"--addtag={wrong}", f"{GROUP}/{its}")
    if other == "the name":
        own = f"holdfast.volume={theirs.originator_id}"
        lvm("lvchange", f"--deltag={own}", f"{GROUP}/{its}")

    again = fresh("default")

    for change in (
        lambda: again.connect(mine.originator_id, NODE_1),
        lambda: again.extend(mine.originator_id, 2),
        lambda: again.converge(Export(mine.originator_id, (NODE_1,))),
    ):
        with pytest.raises(AnothersToo):
            change()


@pytest.mark.parametrize("its", ["another volume", "nobody's"])
def test_a_tag_that_is_wrong_has_nothing_removed(thick: LvmDriver, its: str) -> None:
    mine, theirs = (asked(volume_id=uuid4()) for _ in range(2))
    thick.create(mine, CAUSE)
    name = f"volume-{theirs.originator_id}"
    if its == "another volume":
        thick.create(theirs, CAUSE)
    else:
        lvcreate("default", name := "precious", GIB)
    write(Path("/dev", GROUP, name), 4096, b"before")
    lvm("lvchange", f"--addtag=holdfast.volume={mine.originator_id}", f"{GROUP}/{name}")

    fresh("default").delete(mine.originator_id, CAUSE.at)

    assert [row["lv_name"] for row in lvm("lvs", "-o", "lv_name", GROUP)] == [name]
    assert read(Path("/dev", GROUP, name), 4096, 6) == b"before"


def test_a_clone_of_cinders_is_a_volume_like_others(thin: LvmDriver) -> None:
    source = lvcreate("thin", f"volume-{uuid4()}", GIB)
    write(source, 4096, b"cinder's")
    lvm("lvcreate", "-s", "-n", f"volume-{VOLUME}", f"{GROUP}/{source.name}")

    thin.adopt(wanted(f"volume-{VOLUME}", VOLUME), CAUSE)

    assert read(device(thin, VOLUME), 4096, 8) == b"cinder's"
    assert thin.adopt(wanted(source.name), LATER).size_gib == 1


def test_what_cannot_have_its_name_is_left_as_it_was(thick: LvmDriver) -> None:
    lvcreate("default", "db", GIB + GIB // 2)
    lvcreate("default", f"volume-{VOLUME}", GIB)
    before = lvm("lvs", "-o", "lv_name,lv_size,lv_tags", GROUP)

    with pytest.raises(AlreadyThere, match=f"volume-{VOLUME} already exists"):
        thick.adopt(wanted(volume_id=VOLUME), CAUSE)

    assert lvm("lvs", "-o", "lv_name,lv_size,lv_tags", GROUP) == before


class Killed(BaseException):
    """The agent is no more."""


def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the agent die before its nth command that changes something."""
    commands = iter(range(1, 100))
    run = worker.Worker.run

    def dying(self: worker.Worker, *words: str) -> list[dict[str, str]]:
        if words[0] not in ("lvs", "vgs") and next(commands) == step:
            raise Killed
        return run(self, *words)

    monkeypatch.setattr(worker.Worker, "run", dying)


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("then", ["asked again", "let go"])
def test_what_was_killed_in_between_goes_on_or_is_let_go(
    thick: LvmDriver, monkeypatch: pytest.MonkeyPatch, step: int, then: str
) -> None:
    path = lvcreate("default", "db", GIB + GIB // 2)
    write(path, 4096, b"before")
    with monkeypatch.context() as patch:
        killed_at(step, patch)
        with pytest.raises(Killed):
            thick.adopt(wanted(volume_id=VOLUME), CAUSE)

    again = fresh("default")
    if then == "asked again":
        assert again.adopt(wanted(volume_id=VOLUME), CAUSE).size_gib == 2
        assert read(device(again, VOLUME), 4096, 6) == b"before"
        return

    again.unmanage(VOLUME, None)

    [found] = again.manageable()
    assert found.safe_to_manage
    assert read(Path("/dev", GROUP, found.reference["source-name"]), 4096, 6)


@pytest.mark.parametrize("step", [1])
def test_letting_go_that_was_killed_is_finished_when_asked_again(
    thick: LvmDriver, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    event = asked()
    thick.create(event, CAUSE)
    with monkeypatch.context() as patch:
        killed_at(step, patch)
        with pytest.raises(Killed):
            thick.unmanage(event.originator_id, CAUSE.at)

    told = fresh("default").unmanage(event.originator_id, CAUSE.at)

    assert told == reference.to(f"volume-{event.originator_id}")
    assert fresh("default").manageable()[0].safe_to_manage
