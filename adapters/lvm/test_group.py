"""What is known of a volume group while others change and forget it."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event, Thread

import pytest

from adapters.lvm.failures import AnothersGroup, Crashed
from adapters.lvm.group import OWNED, OWNER, Group
from adapters.lvm.report import COW, LV_FIELDS, Lv
from adapters.lvm.shell import Shell
from adapters.lvm.snapshots import cows
from adapters.lvm.worker import Worker

VG = {
    "vg_uuid": "x",
    "vg_tags": "",
    "vg_size": "1",
    "vg_free": "1",
    "vg_extent_size": "1",
    "vg_missing_pv_count": "0",
    "pv_name": "/dev/x",
}


NEW = dict.fromkeys(LV_FIELDS.split(","), "") | {"lv_name": "new", "lv_size": "1"}
NEW["lv_attr"] = Lv.attr


class Lvm(Worker):
    """LVM that has no volumes, and makes one as slowly as is wanted."""

    def __init__(self) -> None:
        super().__init__("group", Shell({}))
        self.reads = 0
        self.said: list[str] = []
        self.tags = ""
        self.first = ""  # of those who want the group
        self.began, self.may_end = Event(), Event()

    def run(self, *words: str) -> list[dict[str, str]]:
        self.said.append(" ".join(words))
        with self.alone():
            if words[0] == "lvcreate":
                self.began.set()
                assert self.may_end.wait(30)
            self.reads += words[0] == "lvs"
            if words[0] == "vgchange" and not self.tags:
                mine = words[4] if not self.first else f"{OWNER}{self.first}"
                self.tags = f"{OWNED},{mine}"
        told = VG | {"vg_tags": VG["vg_tags"] or self.tags}
        return [told] if words[0] == "vgs" else []

    def look_at(self, disks: object = ()) -> None:
        pass


@pytest.fixture
def lvm() -> Iterator[Lvm]:
    worker = Lvm()
    worker.tags = f"{OWNED},{OWNER}lvm"
    yield worker
    worker.may_end.set()


def test_what_is_changed_meanwhile_does_not_undo_that_all_is_forgotten(
    lvm: Lvm,
) -> None:
    group = Group("group", lvm, 1)
    group.set_up("lvm")
    making = Thread(target=group.change, args=("new", Lv("new", 1), "lvcreate"))
    making.start()
    assert lvm.began.wait(30)

    group.forget()
    lvm.may_end.set()
    making.join()
    group.seen()

    assert lvm.reads == 2


def test_a_group_is_told_once_whose_it_is(lvm: Lvm) -> None:
    lvm.tags = ""

    for _ in range(2):
        Group("group", lvm, 1).set_up("lvm")

    [said] = [words for words in lvm.said if words.startswith("vgchange")]
    assert "--addtag holdfast.owned --addtag holdfast.backend=lvm" in said


@pytest.mark.parametrize(
    "tags", ["holdfast.owned", "holdfast.backend=old,holdfast.owned,x"]
)
def test_a_group_of_another_backend_is_left_as_it_is(
    lvm: Lvm, monkeypatch: pytest.MonkeyPatch, tags: str
) -> None:
    monkeypatch.setitem(VG, "vg_tags", tags)

    with pytest.raises(AnothersGroup) as refused:
        Group("group", lvm, 1).set_up("lvm")

    said = " ".join(f"--deltag {tag}" for tag in tags.split(",") if tag != "x")
    assert f"`vgchange {said} group`" in str(refused.value)
    assert not [words for words in lvm.said if words.startswith("vgchange")]


def test_a_group_that_another_backend_has_got_meanwhile_is_its(
    lvm: Lvm, monkeypatch: pytest.MonkeyPatch
) -> None:
    lvm.tags, lvm.first = "", "other"

    with pytest.raises(AnothersGroup, match="backend=other"):
        Group("group", lvm, 1).set_up("lvm")


def test_what_was_changed_is_known_without_a_look(lvm: Lvm) -> None:
    group = Group("group", lvm, 1)
    group.set_up("lvm")
    lvm.may_end.set()

    group.change("new", Lv("new", 1), "lvcreate")

    assert group.find("new") == Lv("new", 1)
    assert lvm.reads == 1


def test_after_an_lvm_that_was_killed_what_it_left_is_done(
    lvm: Lvm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had made the volume, and did not come to tell."""
    group, done = Group("group", lvm, 2), list[str]()
    group.set_up("lvm")
    group.after_kill = lambda: done.append("after the kill")

    def kill(*words: str) -> list[dict[str, str]]:
        if words[0] == "lvcreate":
            raise Crashed("group", "lvcreate", 137)
        return [VG] if words[0] == "vgs" else [NEW]

    monkeypatch.setattr(lvm, "run", kill)
    group.change("new", Lv("new", 1), "lvcreate")

    assert done == ["after the kill"]


@pytest.mark.parametrize("words", ["lvchange --deltag=x", "lvchange -ay"])
def test_what_does_not_show_is_run_again_where_lvm_was_kept_from_it(
    lvm: Lvm, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    group, run = Group("group", lvm, 2), list[tuple[str, ...]]()
    group.set_up("lvm")

    def crash_at_first(*said: str) -> list[dict[str, str]]:
        if said[0] == "lvchange":
            run.append(said)
            if not run[1:]:
                raise Crashed("group", "lvchange", 139)
        return [VG] if said[0] == "vgs" else [NEW | {"lv_tags": "x"}]

    monkeypatch.setattr(lvm, "run", crash_at_first)
    group.change("new", Lv("new", 1), *words.split())

    assert run == [tuple(words.split())] * 2


def test_snapshots_of_what_was_renamed_are_of_its_new_name(lvm: Lvm) -> None:
    group = Group("group", lvm, 1)
    group.set_up("lvm")
    lvm.may_end.set()
    for lv in (Lv("db", 2), Lv("kept", 1, COW, origin="db")):
        group.change(lv.name, lv, "lvcreate")

    group.change("db", Lv("volume", 2), "lvrename")

    assert cows(group.seen().lvs, Lv("volume", 2)) == [group.find("kept")]
