"""The `holdfast` command: one module a noun, and how they ask and show.

Start with `volume`, which reads as the list of what can be done to one. `options`
has what every command takes, `client` asks over NATS, `names` finds out which id
is meant, `show` prints, and `run` has `up`, `serve`, `agent` and `demo`.

A command that asks a running service imports neither the service nor the
eventsourcing library, so that it answers before its user wonders: what those
need is imported where it is used.
"""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run the command line and return the exit code."""
    # In the order of their numbers, which no socket may get: libuv would abort on it.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115
    try:
        # Here, so that Ctrl-C while it is imported ends as quietly as later.
        from service.cli.app import run  # noqa: PLC0415

        return run()
    except KeyboardInterrupt:
        return 130
