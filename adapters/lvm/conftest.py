"""A volume group for the tests, one a class, empty for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adapters.lvm.testing import GROUP, clear, make_group, remove_group


@pytest.fixture(scope="class")
def whole_group() -> Iterator[str]:
    make_group()
    yield GROUP
    remove_group()


@pytest.fixture
def group(whole_group: str) -> Iterator[str]:
    yield whole_group
    clear()
