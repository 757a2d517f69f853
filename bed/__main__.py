"""Running a command in a guest.

    python -m bed [options] CMD [ARG…]

It runs as root, in the current folder, with this machine's programs; its output is
streamed, and its exit status is ours. 124: it took longer than `--timeout`. 125: the
guest died, or no guest runs here.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from bed.guest import DIED, TIMED_OUT, Guest, Needs
from bed.machine import CannotRun, missing


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--memory", default=Needs.memory)
    add(
        "--disk",
        action="append",
        metavar="SIZE|FILE",
        help="a scratch disk of that size, or a file that is kept; 4G and 4G if none",
    )
    add("--writable", action="append", default=[], type=Path, metavar="FOLDER")
    add("--lio", action="store_true", help="LIO and an iSCSI initiator")
    add("--modules", default="", help="further kernel modules, with commas")
    add("--timeout", type=float, metavar="SECONDS")
    add("--missing", action="store_true", help="tell what has to be installed, and end")
    add("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    if asked.command[:1] == ["--"]:
        del asked.command[0]
    if not asked.command and not asked.missing:
        parser.error("no command")
    return asked


def run(asked: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    needs = Needs(
        memory=asked.memory,
        disks=tuple(
            Path(disk) if Path(disk).exists() else disk for disk in asked.disk or ()
        )
        or Needs.disks,
        writable=tuple(asked.writable),
        modules=tuple(filter(None, asked.modules.split(","))),
        lio=asked.lio,
    )
    with Guest(asked.command, needs) as guest:
        status = guest.wait(asked.timeout)
        if guest.status is None:
            why = "took too long" if status == TIMED_OUT else "died"
            print(f"bed: the guest {why}\n{guest.last_words}", file=sys.stderr)
        return status


def main() -> int:
    """Run it; whoever ends us ends the guest."""
    asked = arguments()
    if asked.missing:
        print(*missing())
        return 0
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    signal.signal(signal.SIGHUP, lambda number, _: sys.exit(128 + number))
    try:
        return run(asked)
    except CannotRun as reason:
        print(f"bed: no guest runs here: {reason}", file=sys.stderr)
        return DIED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
