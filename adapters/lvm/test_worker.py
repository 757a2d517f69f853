"""Who has LVM do things, and how long they wait for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from adapters.lvm.failures import Hung
from adapters.lvm.limits import left, within
from adapters.lvm.settings import environment
from adapters.lvm.shell import Shell
from adapters.lvm.worker import Worker


def test_who_waits_for_others_gives_up_while_there_is_time_to_work() -> None:
    worker = Worker("group", Shell(environment(Path("nowhere"))))

    def wait() -> float:
        with within(0.5):
            with pytest.raises(Hung, match="waiting for other work failed in group"):
                worker.run("vgs")
            return left()

    with ThreadPoolExecutor() as others, worker.alone():
        assert others.submit(wait).result() > 0


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(25.0, "no answer within 25 s"), (0.0, "no time was left for an answer")],
)
def test_who_gives_up_says_how_long_there_was_an_answer_to_come(
    seconds: float, said: str
) -> None:
    assert said in str(Hung("group", "lvcreate", seconds))
