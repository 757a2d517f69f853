"""Progress is told when it is news, for what is told is kept for ever."""

from __future__ import annotations

import pytest

from adapters.jetstream.progress import News


@pytest.mark.parametrize(
    ("heard", "told"),
    [
        ([(9, 90)], []),  # it is over soon
        ([(11, 4)], []),
        ([(11, 5)], [5]),
        ([(11, 5), (12, 50), (22, 51)], [5, 51]),
        ([(301, 0.5), (602, 0.9), (903, 0.9)], [0, 0]),  # slow, and it goes on
        ([(11, 60.9)], [60]),
    ],
)
def test_it_is_told_now_and_then(
    heard: list[tuple[float, float]], told: list[int]
) -> None:
    now, said = 0.0, list[int]()
    progress = News(said.append, lambda: now)

    for now, percent in heard:  # noqa: B007 - the clock reads it
        progress(percent)

    assert said == told
