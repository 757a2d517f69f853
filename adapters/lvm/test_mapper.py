"""What the kernel's device-mapper answers, read."""

from __future__ import annotations

from adapters.lvm.mapper import names_in


def test_a_kernel_without_devices_names_none() -> None:
    assert list(names_in(b"")) == []
