"""Who has a file open, asked of a real kernel."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters import holders as module
from adapters.holders import UNSEEN, holders, is_held

SIZE = 1024**2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "volume"
    path.touch()
    os.truncate(path, SIZE)
    return path


@pytest.fixture(params=["with leases", "without leases"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filesystem that grants leases, and one that does not, such as NFS."""
    if request.param == "without leases":
        monkeypatch.setattr(fcntl, "fcntl", no_leases)


def no_leases(*_: int) -> int:
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


@pytest.mark.usefixtures("kernel")
def test_nobody_has_a_closed_file(path: Path) -> None:
    assert (holders(path), is_held(path)) == ([], False)


@pytest.mark.usefixtures("kernel")
def test_nobody_has_an_absent_file(tmp_path: Path) -> None:
    absent = tmp_path / "absent"

    assert (holders(absent), is_held(absent)) == ([], False)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("mode", ["rb", "r+b", "ab"])
def test_this_process_is_found(path: Path, mode: str) -> None:
    with path.open(mode):
        [found] = holders(path)
        assert is_held(path)

    assert found.startswith(f"process {os.getpid()} (")


@pytest.mark.usefixtures("kernel")
def test_another_process_is_found(path: Path) -> None:
    waiting = "import sys; f = open(sys.argv[1]); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", waiting, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        process.stdout.readline()
        [found] = holders(path)
        process.communicate()

    assert found.startswith(f"process {process.pid} (python")
    assert holders(path) == []


@pytest.mark.usefixtures("kernel")
def test_a_loop_device_is_found(path: Path, loop: str) -> None:
    assert loop in holders(path)


def test_a_closed_file_takes_no_look_through_proc(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROC", Path("/absent"))

    assert holders(path) == []


def test_a_file_that_is_mapped_and_closed_is_in_use(path: Path) -> None:
    # Python's own mmap keeps a descriptor of the file, which /proc shows.
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    with path.open("r+b") as file:
        mapped = libc.mmap(
            None, SIZE, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0
        )

    assert holders(path) == [UNSEEN]
    libc.munmap(ctypes.c_void_p(mapped), SIZE)
    assert holders(path) == []


def test_a_file_on_which_another_has_a_lease_is_in_use(path: Path) -> None:
    with path.open("rb") as file:
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)

        assert holders(path)


def test_who_had_it_for_a_moment_has_it_no_more(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = iter([False, True])
    monkeypatch.setattr(module, "_alone", lambda _: next(told))

    assert holders(path) == []


def test_looking_leaves_nothing_open(path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))

    holders(path)
    with path.open("rb"):
        holders(path)

    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.fixture
def loop(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    made = subprocess.run(
        ["losetup", "--find", "--show", path],
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        pytest.skip("cannot make a loop device here: NOT TESTED with one")
    device = made.stdout.strip()
    assert module.BLOCK.joinpath(Path(device).name).exists()
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)
