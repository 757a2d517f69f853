"""What is done in time, and what is left to a thread."""

from __future__ import annotations

from threading import Event, active_count, get_ident

import pytest

from adapters.lvm.limits import in_time, within


def test_who_is_held_by_a_device_holds_up_nobody_else() -> None:
    answers = Event()
    with within(0), pytest.raises(TimeoutError):
        in_time(answers.wait)

    assert in_time(sum, [1, 2]) == 3

    answers.set()


def test_one_thread_does_one_thing_after_another() -> None:
    assert in_time(get_ident) != get_ident()
    threads = active_count()

    for _ in range(10):
        in_time(get_ident)

    assert active_count() == threads


def test_what_fails_is_raised_where_it_is_waited_for() -> None:
    with pytest.raises(ZeroDivisionError):
        in_time(divmod, 1, 0)

    assert in_time(divmod, 7, 2) == (3, 1)


def test_what_was_done_is_let_go() -> None:
    gone = Event()

    class Device:
        def __del__(self) -> None:
            gone.set()

        def answer(self) -> None:
            pass

    in_time(Device().answer)

    assert gone.wait(30)
