"""A volume group is one backend's, though several want it at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from adapters.lvm.failures import AnothersGroup
from adapters.lvm.testing import DISKS, lvm
from service.agents import driver_of
from service.settings import LVM_DRIVER, BackendSettings

pytestmark = pytest.mark.lvm(disks=DISKS)
NAMES = ["a", "b", "c", "d"]


def set_up(group: str, name: str, folder: Path) -> str:
    """Return the backend's name if it has got the group, "" if it is another's."""
    options: dict[str, Any] = {"volume_group": group, "lvm_type": "default"}
    options |= {"target_helper": "local", "run_folder": folder / name}
    driver = driver_of(BackendSettings(name, LVM_DRIVER, options=options), b"key")
    try:
        driver.set_up()
    except AnothersGroup:
        return ""
    return name


@pytest.mark.parametrize("turn", range(3))
def test_of_several_backends_one_has_the_group_and_keeps_it(
    whole_group: str, tmp_path: Path, turn: int
) -> None:
    group = whole_group
    lvm("vgchange", "--addtag", "cinder", group)
    with ThreadPoolExecutor(len(NAMES)) as together:
        first = list(together.map(lambda name: set_up(group, name, tmp_path), NAMES))
    again = [set_up(group, name, tmp_path) for name in NAMES]
    [owner] = set(first) - {""}
    tags = lvm("vgs", "-o", "vg_tags", group)[0]["vg_tags"].split(",")

    assert first == again
    assert sorted(tags) == ["cinder", f"holdfast.backend={owner}", "holdfast.owned"]

    away = "holdfast.owned", f"holdfast.backend={owner}"
    lvm("vgchange", *(word for tag in away for word in ("--deltag", tag)), group)
    assert set_up(group, "new", tmp_path) == "new"
