"""Changing a program from outside, before it runs, so that it knows nothing of it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from importlib import import_module
from inspect import iscoroutinefunction
from pathlib import Path
from signal import SIGKILL
from typing import Any

Change = Callable[[Callable[..., Any]], Callable[..., Any]]


def patch(where: str, change: Change) -> None:
    """Put what `change` makes of a function, `module:name` or `module:Class.name`."""
    module, _, dotted = where.partition(":")
    *classes, name = dotted.split(".")
    owner: Any = import_module(module)
    for part in classes:
        owner = getattr(owner, part)
    setattr(owner, name, change(getattr(owner, name)))


def dying(sentence: Path, when: str) -> Change:
    """Return what lets a function kill its process, `before` its work or `after` it.

    It does so once a file is there, the sentence, which says how many calls may
    pass. Whoever removes it dies, so of several processes one does.
    """
    passed = 0

    def reached(now: str) -> None:
        nonlocal passed
        if now != when or not sentence.exists():
            return
        try:
            if passed < int(sentence.read_text()):
                passed += 1
                return
            sentence.unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), SIGKILL)

    def change(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def mortal(*args: Any, **kwargs: Any) -> Any:
            reached("before")
            result = call(*args, **kwargs)
            reached("after")
            return result

        @functools.wraps(call)
        async def mortal_later(*args: Any, **kwargs: Any) -> Any:
            reached("before")
            result = await call(*args, **kwargs)
            reached("after")
            return result

        return mortal_later if iscoroutinefunction(call) else mortal

    return change
