"""Whose turn it is."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Thread

import pytest

from adapters.lvm.turn import Turn

SECONDS = 30.0


@pytest.fixture
def turn() -> Turn:
    return Turn()


@contextmanager
def had(turn: Turn) -> Iterator[None]:
    assert turn.acquire(SECONDS)
    try:
        yield
    finally:
        turn.release()


def test_who_waits_longest_is_next(turn: Turn) -> None:
    order: list[int] = []

    def work(number: int) -> None:
        with had(turn):
            order.append(number)

    with had(turn):
        threads = [Thread(target=work, args=(number,)) for number in range(5)]
        for number, thread in enumerate(threads, start=1):
            thread.start()
            while len(turn._waiting) < number:
                thread.join(0.001)
    for thread in threads:
        thread.join()

    assert order == [0, 1, 2, 3, 4]


def test_who_is_quick_does_not_have_it_again_before_others(turn: Turn) -> None:
    with ThreadPoolExecutor() as others:
        with had(turn):
            waits = others.submit(turn.acquire, SECONDS)
            while not turn._waiting:
                pass

        assert not turn.acquire(0)
        assert waits.result()


def test_who_has_it_has_it_until_it_was_given_back_as_often(turn: Turn) -> None:
    with ThreadPoolExecutor() as others, had(turn):
        with had(turn):
            pass

        assert not others.submit(turn.acquire, 0).result()


def test_who_has_waited_in_vain_is_not_next(turn: Turn) -> None:
    with ThreadPoolExecutor() as others:
        with had(turn):
            assert not others.submit(turn.acquire, 0.001).result()

        assert turn.acquire(0)


def test_many_who_give_up_or_do_not_never_have_it_at_once(turn: Turn) -> None:
    inside, most = 0, 0

    def work(number: int) -> int:
        nonlocal inside, most
        done = 0
        for _ in range(200):
            if turn.acquire(1e-5 * (number % 3)):
                inside += 1
                most = max(most, inside)
                inside -= 1
                done += 1
                turn.release()
        return done

    with ThreadPoolExecutor(8) as threads:
        did: list[Future[int]] = [threads.submit(work, n) for n in range(8)]

    assert sum(each.result() for each in did) >= 200
    assert most == 1
    assert turn.acquire(0)
