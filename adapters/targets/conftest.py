"""What the tests of targets begin with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adapters.contracts.disk import Disk


@pytest.fixture
def device() -> Iterator[Disk]:
    """A block device that can grow; in a guest only."""
    disk = Disk()
    yield disk
    disk.remove()
