"""A backend's driver is made from its own keys, and its target from Cinder's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapters.targets import lio
from adapters.targets.local import LocalTarget
from domain.ports import Target
from service.agents import driver_of
from service.settings import LVM_DRIVER, BackendSettings, Unusable

KEY = b"the key of an installation"


class Exporting:
    """What a driver that exports its volumes is made from."""

    def __init__(
        self,
        target: Target,
        name: str,
        reserved_percentage: int,
        max_over_subscription_ratio: float,
    ) -> None:
        self.target = target


def backend(**options: object) -> BackendSettings:
    dotted = f"{__name__}.{Exporting.__name__}"
    return BackendSettings("lvm", dotted, options=options)


def test_a_driver_that_exports_is_given_the_target_that_is_chosen() -> None:
    driver = driver_of(backend(target_helper="local"), KEY)

    assert isinstance(driver, Exporting)
    assert isinstance(driver.target, LocalTarget)


def test_a_target_that_there_is_not_is_unusable() -> None:
    with pytest.raises(Unusable, match="backend lvm: there is no target"):
        driver_of(backend(target_helper="scstadmin"), KEY)


def test_a_target_is_not_changed_while_hosts_may_use_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lio.stores_of("lvm", tmp_path).joinpath("a volume").mkdir(parents=True)
    monkeypatch.setattr(lio.served, "__defaults__", (tmp_path,))

    driver_of(backend(target_helper="lioadm"), KEY)
    with pytest.raises(Unusable, match="may reach 1 of its volumes by the kernel's"):
        driver_of(backend(target_helper="local"), KEY)


@pytest.mark.parametrize("devices", ["/dev/sdb", ["sdb"], ["/dev/sd[bc]"], [1], 5])
def test_disks_that_are_no_paths_are_unusable(devices: Any) -> None:
    on_lvm = BackendSettings("lvm", LVM_DRIVER, options={"lvm_devices": devices})

    with pytest.raises(Unusable, match="lvm_devices is a list of paths of disks, not"):
        driver_of(on_lvm, KEY)


@pytest.mark.parametrize(
    ("option", "value", "meant"),
    [
        *(("volume_clear_size", each, "MiB or 0 for all") for each in (-1, "5", 0.5)),
        *(("num_shell_tries", each, "1 or more") for each in (0, "3", True)),
        ("volume_group", 5, "a name that LVM takes"),
    ],
)
def test_an_option_of_lvm_that_cannot_be_meant_is_unusable(
    option: str, value: object, meant: str
) -> None:
    options = {"target_helper": "local", option: value}
    on_lvm = BackendSettings("lvm", LVM_DRIVER, options=options)

    with pytest.raises(Unusable, match=f"{option} is {meant}, not {value!r}"):
        driver_of(on_lvm, KEY)


@pytest.mark.parametrize(
    ("dotted", "said"),
    [
        ("builtins.int", "backend lvm: builtins.int is no driver"),
        ("pathlib.Path", "backend lvm: pathlib.Path does not know name"),
        ("..x", "there is no class ..x"),
    ],
)
def test_a_class_that_is_no_driver_is_unusable(dotted: str, said: str) -> None:
    with pytest.raises(Unusable, match=said):
        driver_of(BackendSettings("lvm", dotted), KEY)


def test_a_key_that_nobody_knows_is_unusable() -> None:
    with pytest.raises(Unusable, match="does not know target_color"):
        driver_of(backend(target_color="blue"), KEY)
