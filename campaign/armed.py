"""Arming a program: its points, its diary, and a mistake if one is to be made.

A replica starts its keeper by itself, so it starts this module instead.
"""

from __future__ import annotations

import functools
import os
import runpy
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from adapters.jetstream.work import WORK
from campaign.breaks import BREAKS, ON_LVM
from campaign.patching import dying, patch
from campaign.points import AGENT, EVERY, KEEPER, SERVE

FOLDER, BROKEN = "CAMPAIGN_FOLDER", "CAMPAIGN_BROKEN"
DIARY, SAID = "diary", "said"
LOG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND


def armed(code: str, program: str, folder: Path, broken: str = "") -> str:
    """Return the code of a program that is armed before it runs."""
    told = f"{program!r}, {str(folder)!r}, {broken!r}"
    return f"from campaign.armed import arm\narm({told})\n{code}"


def arm(program: str, folder: str, broken: str) -> None:
    """Let this process die where a sentence in the folder says so."""
    os.dup2(os.open(Path(folder, SAID), LOG_FLAGS, 0o600), sys.stderr.fileno())
    for point in EVERY:
        if point.program == program:
            patch(point.where, dying(Path(folder, point.name), point.when))
    mistakes = BREAKS | ON_LVM
    if broken and mistakes[broken].program == program:
        for where, change in mistakes[broken].patches.items():
            patch(where, change)
    if program in ARMING:
        ARMING[program](folder)
    os.environ |= {FOLDER: folder, BROKEN: broken}


def arm_keeper(_: str) -> None:
    """Let the keeper, too, be started by way of this module."""
    import_module("service.keeping.keeper").__name__ = "campaign.armed"


def keep_a_diary(folder: str) -> None:
    """Note each operation before it is begun: of what, and the intent's version."""

    def told(work: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(work)
        def noted(driver: Any, event: Any, *about: Any) -> Any:
            with Path(folder, DIARY).open("a") as diary:
                diary.write(f"{event.originator_id} {event.originator_version}\n")
            return work(driver, event, *about)

        return noted

    WORK.update({topic: told(work) for topic, work in WORK.items()})


ARMING = {SERVE: arm_keeper, AGENT: keep_a_diary}

if __name__ == "__main__":
    arm(KEEPER, os.environ[FOLDER], os.environ[BROKEN])
    runpy.run_module("service.keeping.keeper", run_name="__main__", alter_sys=True)
