"""A guest: a kernel as a process, which runs one command and is gone.

It sees this machine's files below a layer of memory, so it can write anywhere and
changes nothing; what has to come back is written below a `writable` folder, or on a
disk that is kept. A guest that is killed is a machine whose power was cut.

Whoever is killed, everything goes: guest and children with us, and the room that they
had (scratch disks, logs) when the last of them has let go of it.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from typing import IO, Self

from adapters.embedded.kernel import die_with_parent
from bed.machine import kernel, path, preloaded, require

HERE = Path(__file__).parent
TIMED_OUT, DIED = 124, 125
CAP_SYS_ADMIN = 21
PANIC = b"Kernel panic - not syncing"
LOOK_SECONDS = 0.2
LAST_WORDS = 4096  # bytes

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

LIO = [
    "configfs",
    "target_core_mod",
    "iscsi_target_mod",
    "target_core_iblock",
    "target_core_file",
    "sd_mod",  # without it a login makes no disk
    "iscsi_tcp",
]

# fmt: off
BOOT = [
    "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro",
    f"init={HERE / 'init.sh'}",
    "quiet", "printk.time=1", "panic=-1", "oops=panic", "selinux=0",
    "random.trust_cpu=on",
    "pty.legacy_count=0",
    "lpj=15462400",               # measuring it takes a quarter of a second
    # A benchmark of RAID 6, a cache of swap and JFS: 1.6 s together.
    "initcall_blacklist=raid6_select_algo,init_zswap,init_jfs_fs",
    "con=null", "ssl=null", "con1=null,fd:1", "con2=null,fd:2",
    "umid=guest",
]
# fmt: on


@dataclass(frozen=True)
class Needs:
    """What a guest has.

    A disk (/dev/ubda, /dev/ubdb, …) is a size, "4G", of one that is thrown away, or the
    path of a file that is kept. `seconds` is how long a test may say nothing.
    """

    memory: str = "1G"
    disks: tuple[str | Path, ...] = ("4G", "4G")
    writable: tuple[Path, ...] = ()
    modules: tuple[str, ...] = ()
    lio: bool = False
    seconds: float = 300


class Guest:
    """One run of a command in a guest of its own.

    Start it from the main thread: it dies with the *thread* that started it. Raises
    `CannotRun` where no guest runs.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        needs: Needs = Needs(),
        *,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
    ) -> None:
        require()
        room = Path(tempfile.mkdtemp(prefix="bed-", dir=roomy(needs)))
        left, held = os.pipe()
        # It outlives everything else and ends when nobody has `held` any more.
        self._last = subprocess.Popen(
            ["sh", "-c", 'read -r _; rm -rf "$0"', room],
            stdin=left,
            start_new_session=True,
        )
        os.close(left)
        self._end = os.pidfd_open(self._last.pid)
        try:
            furnish(room, command, needs, folder or Path.cwd(), environment)
            # Open before they are removed with the room.
            self._status = (room / "status").open("rb")
            self._log = (room / "log").open("rb")
            self._process = boot(room, needs, held, (stdout, stderr))
        finally:
            os.close(held)

    @property
    def stdout(self) -> IO[bytes]:
        """Return what the command says; for `stdout=PIPE`."""
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def running(self) -> bool:
        """Tell whether anything is left of it."""
        return self._last.poll() is None

    def wait(self, seconds: float | None = None) -> int:
        """Return the command's exit status when nothing is left of the guest.

        `TIMED_OUT` if that took too long, `DIED` if the kernel ended before it.
        """
        ends = None if seconds is None else time.monotonic() + seconds
        while not select.select([self._end], [], [], LOOK_SECONDS)[0]:
            if ends and time.monotonic() > ends:
                self.kill()
                return TIMED_OUT
            self.end_if_panicked()
        self._last.wait()
        self._process.wait()
        return DIED if self.status is None else self.status

    @property
    def status(self) -> int | None:
        """Return what the command ended with; None as long as it has not."""
        told = os.pread(self._status.fileno(), 16, 0)
        return int(told) if told else None

    @property
    def last_words(self) -> str:
        """Return the end of the kernel's log."""
        return self._tail().decode(errors="replace").strip()

    def end_if_panicked(self) -> None:
        """End a kernel that has panicked, for it spins; look every `LOOK_SECONDS`."""
        if PANIC in self._tail():
            self.kill()

    def kill(self) -> None:
        """Cut the power, and return when nothing is left of the guest."""
        self._process.kill()
        self._last.wait()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        os.close(self._end)
        self._status.close()
        self._log.close()
        if self._process.stdout:
            self._process.stdout.close()

    def _tail(self) -> bytes:
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), LAST_WORDS, max(0, size - LAST_WORDS))


def size(text: str) -> int:
    """Return the bytes of a size like 512M."""
    return int(text.rstrip("KMGT")) * UNITS.get(text[-1], 1)


def roomy(needs: Needs) -> str | None:
    """Return where memory and scratch disks lie: in our memory, if there is room."""
    memory = Path("/dev/shm")
    enough = memory.is_dir() and shutil.disk_usage(memory).free > 2 * size(needs.memory)
    return str(memory) if enough else None


def furnish(
    room: Path,
    command: Sequence[str | Path],
    needs: Needs,
    folder: Path,
    environment: Mapping[str, str] | None,
) -> None:
    """Write what init.sh reads."""
    given = dict(os.environ if environment is None else environment)
    given["PATH"] = path(given.get("PATH", os.defpath))
    given["DM_DISABLE_UDEV"] = "1"  # nobody runs one; device nodes are made without
    given["TMPDIR"] = "/run/tmp"
    given["POSTGRES_CONNECT_TIMEOUT"] = "30"  # a guest takes its time
    exports = [
        f"export {name}={shlex.quote(value)}"
        for name, value in given.items()
        if re.fullmatch(r"[A-Za-z_]\w*", name)
    ]
    run = [f"cd {shlex.quote(str(folder))}", f"exec {shlex.join(map(str, command))}"]
    modules = (*needs.modules, *(LIO if needs.lio else ()))
    for name, lines in {
        "command": [*exports, *run],
        "writable": [str(folder.resolve()) for folder in needs.writable],
        "modules": modules,
        "status": [],
        "log": [],
    }.items():
        (room / name).write_text("".join(f"{line}\n" for line in lines))
    shutil.copy(HERE / "lvm.conf", room)


def boot(
    room: Path,
    needs: Needs,
    held: int,
    output: tuple[int | IO[bytes] | None, int | IO[bytes] | None],
) -> subprocess.Popen[bytes]:
    """Start the kernel; `held` is open as long as anything of it lives."""
    with (room / "log").open("ab") as log, Processor() as processor:
        arguments = [
            f"mem={needs.memory}",
            f"con0=null,fd:{log.fileno()}",
            f"uml_dir={room}",
            f"BED={room}",
            *(
                # d: what is on it is data, whatever it looks like.
                f"ubd{number}d={scratch(room, number, disk)}"
                for number, disk in enumerate(needs.disks)
            ),
        ]
        parent = os.getpid()

        def prepare() -> None:
            die_with_parent(parent, SIGKILL)
            os.sched_setaffinity(0, {processor.number})

        return subprocess.Popen(
            # A namespace of processes: when the kernel dies, so does every process
            # of the guest, which are processes of this machine.
            [*namespace(), kernel(), *BOOT, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output[0],
            stderr=output[1],
            env={
                "PATH": os.defpath,
                "HOME": str(room),
                "TMPDIR": str(room),
                **preloaded(room),
            },
            pass_fds=(held, log.fileno(), *processor.kept),
            start_new_session=True,
            preexec_fn=prepare,  # noqa: PLW1509
        )


def namespace() -> list[str]:
    """Return the command that gives what follows processes of its own."""
    status = Path("/proc/self/status").read_text()
    held = re.search(r"CapEff:\s*(\w+)", status)
    may = held is not None and int(held[1], 16) >> CAP_SYS_ADMIN & 1
    rights = [] if may else ["--user", "--map-root-user"]
    return ["unshare", *rights, "--pid", "--fork", "--kill-child=KILL", "--"]


def scratch(room: Path, number: int, disk: str | Path) -> Path:
    """Return the file that is the disk; made, if only its size was given."""
    if isinstance(disk, Path):
        return disk.resolve(strict=True)
    file = room / f"disk{number}"
    file.touch()
    os.truncate(file, size(disk))
    return file


class Processor:
    """A processor for one guest: on several, a switch to its kernel costs four times.

    It is the first that no other guest holds, as long as somebody has `kept` open.
    """

    def __init__(self) -> None:
        self.kept: list[int] = []
        usable = sorted(os.sched_getaffinity(0), reverse=True)
        self.number = next(
            filter(self._take, usable), usable[os.getpid() % len(usable)]
        )

    def _take(self, number: int) -> bool:
        file = os.open(f"/sys/devices/system/cpu/cpu{number}", os.O_RDONLY)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self.kept.append(file)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.kept:
            os.close(file)
