"""The LVM driver against a dictionary."""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings

from adapters.contracts.model import Agents
from adapters.lvm.driver import LvmDriver
from adapters.lvm.test_driver import fresh
from adapters.lvm.testing import DISKS, clear

pytestmark = [
    pytest.mark.lvm(disks=DISKS),
    pytest.mark.slow,
    pytest.mark.usefixtures("whole_group"),
]


class LvmAgents(Agents):
    """One agent after another on the same volume group."""

    def fresh(self) -> LvmDriver:
        return fresh("thin")

    def teardown(self) -> None:
        super().teardown()
        clear()


TestModel = LvmAgents.TestCase
TestModel.settings = settings(
    max_examples=4,
    stateful_step_count=12,
    database=None,
    phases=[Phase.generate],  # what has failed takes minutes to be made smaller
)
