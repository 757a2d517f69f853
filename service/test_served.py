"""Which backend an agent serves, and with what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.agents import defaults_of, driver_of, served
from service.settings import FILE_DRIVER, LVM_DRIVER, Unusable, load

KEY = b"0123456789abcdef0123456789abcdef"
TWO = f"""
[[backend]]
name = "fast"
[[backend]]
name = "slow"
volume_driver = "{FILE_DRIVER}"
"""


class Plain:
    """A driver that knows nothing of volume groups."""

    told: tuple[str, int] | None = None

    def __init__(
        self, name: str, reserved_percentage: int, max_over_subscription_ratio: float
    ) -> None:
        self.name = name


class Grouped(Plain):
    """A driver that knows the plain keys."""

    def __init__(
        self,
        name: str,
        volume_group: str,
        num_shell_tries: int,
        reserved_percentage: int,
        max_over_subscription_ratio: float,
    ) -> None:
        super().__init__(name, reserved_percentage, max_over_subscription_ratio)
        self.told = volume_group, num_shell_tries


def settings(tmp_path: Path, told: str = "", **environment: str) -> Any:
    path = tmp_path / "holdfast.toml"
    path.write_text(told)
    return load(path, environment)


def test_without_a_backend_the_volume_group_is_one(tmp_path: Path) -> None:
    found = served(settings(tmp_path, HOLDFAST_VOLUME_GROUP="vg0"), None, "lvm")

    assert (found.name, found.volume_driver) == ("vg0", LVM_DRIVER)


def test_it_may_have_another_name(tmp_path: Path) -> None:
    assert served(settings(tmp_path), "shelf", "lvm").name == "shelf"


def test_a_backend_without_a_driver_has_the_one_that_is_given(tmp_path: Path) -> None:
    assert served(settings(tmp_path, TWO), "fast", "file").volume_driver == FILE_DRIVER


def test_settings_may_name_a_driver_by_its_word(tmp_path: Path) -> None:
    told = '[[backend]]\nname = "fast"\nvolume_driver = "lvm"'

    assert served(settings(tmp_path, told), None, None).volume_driver == LVM_DRIVER


@pytest.mark.parametrize(
    ("told", "name", "driver", "why"),
    [
        (TWO, None, None, "name one of the backends in the settings: fast, slow"),
        (TWO, "other", "lvm", "name one of the backends"),
        (TWO, "slow", "lvm", "backend slow has the driver adapters.file"),
        ('volume_group = "a.b"', None, "lvm", "a.b is no name for a backend"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    tmp_path: Path, told: str, name: str | None, driver: str | None, why: str
) -> None:
    with pytest.raises(Unusable, match=why):
        served(settings(tmp_path, told), name, driver)


@pytest.mark.parametrize(
    ("own", "group"), [("", "vg0"), ('volume_group = "vg1"', "vg1")]
)
def test_a_driver_that_knows_the_plain_keys_has_them_unless_it_has_its_own(
    tmp_path: Path, own: str, group: str
) -> None:
    told = f'volume_group = "vg0"\nnum_shell_tries = 5\n[[backend]]\nname = "a"\n{own}'
    decided = settings(tmp_path, told)
    backend = served(decided, None, f"{__name__}.Grouped")

    driver: Any = driver_of(backend, KEY, defaults_of(decided))

    assert driver.told == (group, 5)


def test_a_driver_that_does_not_know_them_is_left_alone(tmp_path: Path) -> None:
    decided = settings(tmp_path)
    backend = served(decided, "a", f"{__name__}.Plain")

    driver: Any = driver_of(backend, KEY, defaults_of(decided))

    assert driver.told is None
