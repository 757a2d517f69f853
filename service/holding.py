"""Who may be a backend's agent on this host: whoever has a file locked.

Which file that is goes into the lease. So a lease passes at once to the next agent
that has locked the same file, for that proves that the one before is dead; an agent
on another host has another file, and waits for the lease's term.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from logging import getLogger
from pathlib import Path
from tempfile import gettempdir

from service.settings import Settings

RUN = Path("/run/holdfast")
BOOT = Path("/proc/sys/kernel/random/boot_id")
LOOK_EVERY = 0.2  # seconds

logger = getLogger(__name__)


def holder_of(lock: int) -> str:
    """Return the name of whoever has the open file locked; no other file has it."""
    seen = os.fstat(lock)
    return f"{BOOT.read_text().strip()}:{seen.st_dev}:{seen.st_ino}"


@asynccontextmanager
async def held(path: Path) -> AsyncIterator[str]:
    """Lock a file until left, and yield the holder's name; wait while another has it.

    Raises `OSError` where the file is somebody else's.
    """
    flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    lock = os.open(path, flags, 0o600)
    try:
        if not locked(lock):
            other = os.pread(lock, 32, 0).decode(errors="replace").strip()
            logger.warning(
                "waiting: another agent of this backend runs here, process %s (%s)",
                other or "unknown",
                path,
            )
            while not locked(lock):  # noqa: ASYNC110 - the kernel has no event for us
                await asyncio.sleep(LOOK_EVERY)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield holder_of(lock)
    finally:
        os.close(lock)


def locked(lock: int) -> bool:
    """Tell whether the file is ours now."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_of(
    settings: Settings, backend: str, env: Mapping[str, str] = os.environ
) -> Path:
    """Return the file that agents of a backend lock, one for each user and broker."""
    with suppress(OSError):  # or a driver makes it, and the next agent locks another
        RUN.mkdir()
    folders = [
        *env.get("RUNTIME_DIRECTORY", "").split(":"),  # systemd may have made several
        str(RUN),
        env.get("XDG_RUNTIME_DIR", ""),
    ]
    usable = (f for f in folders if f and os.access(f, os.W_OK | os.X_OK))
    named = f"{os.getuid()} {settings.nats_url} {backend}"
    digest = sha256(named.encode()).hexdigest()[:16]
    return Path(next(usable, None) or gettempdir()) / f"holdfast-agent-{digest}.lock"
