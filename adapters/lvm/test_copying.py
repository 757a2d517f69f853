"""Comparing what is to be copied with what is there."""

from __future__ import annotations

import mmap
import resource
from collections.abc import Iterator

import pytest

from adapters.lvm.copying import BUFFER, PIECE, differ


@pytest.fixture
def buffers() -> Iterator[tuple[mmap.mmap, mmap.mmap]]:
    with mmap.mmap(-1, BUFFER) as one, mmap.mmap(-1, BUFFER) as other:
        for each in (one, other):
            each.write(b"same" * (BUFFER // 4))
        yield one, other


@pytest.mark.parametrize("at", [0, PIECE - 1, PIECE, 3 * PIECE - 1])
def test_a_byte_makes_a_difference(
    buffers: tuple[mmap.mmap, mmap.mmap], at: int
) -> None:
    _, other = buffers
    other[at] = 0

    assert differ(*buffers, 3 * PIECE)


def test_what_is_behind_the_end_makes_none(
    buffers: tuple[mmap.mmap, mmap.mmap],
) -> None:
    _, other = buffers
    other[PIECE + 512] = 0

    assert not differ(*buffers, PIECE + 512)


def test_comparing_takes_no_memory_anew(buffers: tuple[mmap.mmap, mmap.mmap]) -> None:
    def faults() -> int:
        return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt

    before = faults()

    assert not differ(*buffers, BUFFER)
    assert faults() - before < BUFFER // mmap.PAGESIZE
