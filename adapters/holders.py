"""Who has a file or a block device open.

Whether anybody has is asked of the kernel: it grants a write lease only on a file
that nobody else has open. That takes 10 µs and knows what a look through /proc
misses: files mapped and then closed, loop devices, targets in the kernel,
processes of other containers. /proc and /sys then give the names.

On a block device there are no leases. What the kernel itself does with it (a
mount, a target, device-mapper above it) is a claim, which is tried for; processes
are looked for in /proc alone. What this process claims for itself it claims here, so
that it is never in its own way.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

PROC = Path("/proc")
BLOCK = Path("/sys/block")
BY_NUMBER = Path("/sys/dev/block")
UNSEEN = "something unseen from here (the kernel, or another container)"

PATIENCE = 2.0  # seconds that a claim of others is waited for
AGAIN = 0.02  # seconds

_claiming = Lock()
_claimed: set[int] = set()  # device numbers that this process has claimed


def holders(path: Path) -> list[str]:
    """Name who has it open; nobody, and nobody has an absent one."""
    alone = _alone(path)
    if alone:
        return []
    named = list(_named(path))
    # Asked again, for who is not to be seen may have had it for a moment.
    unseen = alone is False and not named and _alone(path) is False
    return [UNSEEN] if unseen else named


def is_held(path: Path) -> bool:
    """Tell whether anybody has it open: names cost a look at every process."""
    alone = _alone(path)
    return any(_named(path)) if alone is None else not alone


def is_held_by_others(path: Path) -> bool:
    """Tell whether anybody but this process has it open."""
    return any(not each.startswith(f"process {os.getpid()} ") for each in holders(path))


@contextmanager
def claimed(path: Path, flags: int) -> Iterator[int]:
    """Have a block device open that nobody else has claimed, or raise `OSError`.

    `EBUSY` says that somebody has, and not for a moment alone.
    """
    file, number = _claimed_soon(path, flags, time.monotonic() + PATIENCE)
    try:
        yield file
    finally:
        with _claiming:
            _claimed.discard(number)
            os.close(file)


def _claimed_soon(path: Path, flags: int, until: float) -> tuple[int, int]:
    """Claim it, once others let go of it; returns it, open, and its number.

    A program that is being started has all that we had open, until it is one.
    """
    while True:
        with _claiming:
            try:
                file = os.open(path, flags | os.O_EXCL)
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > until:
                    raise
            else:
                number = os.fstat(file).st_rdev
                _claimed.add(number)
                return file, number
        time.sleep(AGAIN)


def lease(file: int, kind: int) -> None:
    """Have a lease on an open file until it is closed, or raise `OSError`."""
    # Who has a lease is told by SIGIO that somebody waits, and dies of it;
    # SIGURG goes unnoticed.
    fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
    fcntl.fcntl(file, fcntl.F_SETLEASE, kind)


def _alone(path: Path) -> bool | None:
    """Tell whether nobody else has it open; None where the kernel does not tell."""
    try:
        return _claim(path) if stat.S_ISBLK(path.lstat().st_mode) else _lease(path)
    except FileNotFoundError:
        return True


def _named(path: Path) -> Iterator[str]:
    try:
        seen = path.lstat()
    except FileNotFoundError:
        return
    yield from _processes(seen)
    yield from _loops(seen)
    yield from _above(seen)


def _lease(path: Path) -> bool | None:
    """Tell whether a lease is granted; None where there are none (NFS, others' files).

    Who opens the file in that moment waits for it to pass.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except BlockingIOError:  # somebody else has a lease on it
        return False
    try:
        lease(file, fcntl.F_WRLCK)
    except OSError as error:
        return False if error.errno == errno.EAGAIN else None
    else:
        return True
    finally:
        os.close(file)


def _claim(path: Path) -> bool | None:
    """Tell that others claim a block device; None where it still may be open."""
    with _claiming:
        if path.lstat().st_rdev in _claimed:
            return None
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_EXCL))
        except OSError as error:
            return False if error.errno == errno.EBUSY else None
    return None


def _processes(wanted: os.stat_result) -> Iterator[str]:
    """Name the processes that this one may look at and that have the file open."""
    for process in filter(lambda p: p.name.isdigit(), PROC.iterdir()):
        # Processes end while we look, and some are not ours to look at.
        with suppress(OSError), os.scandir(process / "fd") as files:
            if any(_same(wanted, file.path) for file in files):
                yield f"process {process.name} ({_line(process / 'comm')})"


def _loops(wanted: os.stat_result) -> Iterator[str]:
    for backing in BLOCK.glob("loop*/loop/backing_file"):
        with suppress(OSError):
            if _same(wanted, _line(backing)):
                yield f"/dev/{backing.parts[-3]}"


def _above(seen: os.stat_result) -> Iterator[str]:
    """Name what device-mapper has made of a block device."""
    number = f"{os.major(seen.st_rdev)}:{os.minor(seen.st_rdev)}"
    for above in BY_NUMBER.joinpath(number).glob("holders/*"):
        yield f"/dev/{above.name}"


def _same(wanted: os.stat_result, path: str) -> bool:
    try:
        found = Path(path).stat()
    except OSError:
        return False
    # A block device has many names, and several nodes where there is no udev.
    numbered = stat.S_ISBLK(wanted.st_mode) and stat.S_ISBLK(found.st_mode)
    if numbered:
        return found.st_rdev == wanted.st_rdev
    return os.path.samestat(wanted, found)


def _line(path: Path) -> str:
    return path.read_text(errors="replace").rstrip("\n")
