"""What the tests of targets begin with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.contracts.disk import Disk
from adapters.contracts.initiator import Initiator
from adapters.contracts.targets import proven
from domain.ports import Target


@pytest.fixture
def device() -> Iterator[Disk]:
    """A block device that can grow; in a guest only."""
    disk = Disk()
    yield disk
    disk.remove()


@pytest.fixture
def volume() -> UUID:
    return uuid4()


@pytest.fixture
def node_1() -> Initiator:
    return Initiator("node-1")


@pytest.fixture
def node_2() -> Initiator:
    return Initiator("node-2")


@pytest.fixture
def connect(target: Target, device: Disk, volume: UUID) -> Any:
    """Connect a host; the answer has what proves who it is."""

    def connect(host: Initiator, **more: Any) -> dict[str, Any]:
        connector = host.connector | more
        return proven(volume, host, target.connect(volume, device.path, connector))

    return connect
