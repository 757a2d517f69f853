"""A guest: what of it comes out, and what is left of it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest

from bed.guest import DIED, TIMED_OUT, Guest, Needs
from bed.machine import preloaded

pytestmark = pytest.mark.lvm(outside=True)

SECONDS = 60
CRASH = "echo c >/proc/sysrq-trigger; sleep 60"


def run(*command: str, needs: Needs = Needs()) -> int:  # noqa: B008 - frozen
    with Guest(command, needs) as guest:
        return guest.wait(SECONDS)


def bed(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bed", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def test_the_commands_exit_status_is_returned() -> None:
    assert run("sh", "-c", "exit 3") == 3


def test_a_guest_that_is_gone_can_be_waited_for() -> None:
    with Guest(["sleep", "1000"]) as guest:
        guest.kill()

        assert guest.wait(SECONDS) == DIED


def test_a_command_ended_by_a_signal_ends_as_in_a_shell() -> None:
    assert run("sh", "-c", "kill -9 $$") == 128 + 9


def test_output_and_errors_come_out_as_they_were_said() -> None:
    said = [sys.executable, "-m", "bed", "sh", "-c", r"printf 'a\n\0\r\n'; echo b >&2"]

    ended = subprocess.run(said, capture_output=True, timeout=SECONDS, check=True)

    assert ended.stdout == b"a\n\0\r\n"
    assert ended.stderr == b"b\n"


def test_processes_keep_their_registers_apart() -> None:
    # A hash has its state in them from its beginning to its end.
    said = "import hashlib; print(hashlib.sha512(bytes(100 << 20)).hexdigest())"
    hashed = [sys.executable, "-c", said]
    outside = subprocess.check_output(hashed, text=True)
    several = f"{shlex.join(hashed)} & " * 3 + "wait"

    with Guest(["sh", "-c", several], stdout=PIPE) as guest:
        told = guest.stdout.read().decode()

    assert told == outside * 3


# Sets a timer to ring once, in 1 ms, and tells how often it rings.
RINGS = """
import ctypes, signal
libc, timer = ctypes.CDLL(None), ctypes.c_void_p()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
libc.timer_create(1, None, ctypes.byref(timer))
libc.timer_settime(timer, 0, (ctypes.c_long * 4)(0, 0, 0, 1_000_000), None)
print(sum(bool(signal.sigtimedwait([signal.SIGALRM], 1)) for _ in range(2)))
"""


def test_a_timer_of_the_kernel_rings_again_until_it_is_set_anew(tmp_path: Path) -> None:
    def rings(environment: dict[str, str]) -> int:
        command = [sys.executable, "-c", RINGS]
        return int(subprocess.check_output(command, env=environment))

    assert rings({}) == 1
    assert rings(preloaded(tmp_path)) == 2


def test_output_is_streamed() -> None:
    with Guest(["sh", "-c", "echo one; sleep 1000"], stdout=PIPE) as guest:
        assert guest.stdout.readline() == b"one\n"
        assert guest.running


def test_the_machines_files_are_seen_and_never_changed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("ours")

    assert run("sh", "-c", f"grep ours {file} && echo guest >{file}") == 0

    assert file.read_text() == "ours"


def test_a_writable_folder_is_the_machines_own(tmp_path: Path) -> None:
    needs = Needs(writable=(tmp_path,))

    assert run("sh", "-c", f"echo guest >{tmp_path}/file", needs=needs) == 0

    assert (tmp_path / "file").read_text() == "guest\n"


def test_lvm_is_real() -> None:
    steps = (
        "pvcreate -q /dev/ubda && vgcreate -q vg /dev/ubda && lvcreate -q -L 8M -n v vg"
    )

    assert run("sh", "-c", f"{steps} && mkfs.ext4 -q /dev/vg/v") == 0


def test_lio_is_real() -> None:
    target = "/sys/kernel/config/target/iscsi/iqn.2026-11.test:1/tpgt_1"

    assert run("mkdir", "-p", target, needs=Needs(lio=True)) == 0


def test_what_was_synced_is_there_after_a_power_cut(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.touch()
    os.truncate(disk, 1 << 30)
    needs = Needs(disks=(disk,))
    steps = "mkfs.ext4 -q /dev/ubda && mount /dev/ubda /mnt && echo kept >/mnt/file"
    writing = f"{steps} && sync /mnt/file && echo synced; sleep 1000"
    with Guest(["sh", "-c", writing], needs, stdout=PIPE) as guest:
        assert guest.stdout.readline() == b"synced\n"
        guest.kill()

    reading = "mount /dev/ubda /mnt && grep kept /mnt/file"

    assert run("sh", "-c", reading, needs=needs) == 0


def test_a_guest_that_dies_is_told_from_a_command_that_fails() -> None:
    died = bed("sh", "-c", CRASH)
    failed = bed("sh", "-c", f"exit {DIED}")

    assert (died.returncode, failed.returncode) == (DIED, DIED)
    assert "Kernel panic - not syncing: sysrq triggered crash" in died.stderr
    assert failed.stderr == ""


def test_a_command_that_takes_too_long_is_ended() -> None:
    assert bed("--timeout", "2", "sleep", "1000").returncode == TIMED_OUT


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_it_is_killed(by: signal.Signals) -> None:
    mark = f"mark-{os.getpid()}-{by}"
    command = [sys.executable, "-m", "bed", "sh", "-c", "echo up; exec sleep 1000"]
    environment = {**os.environ, "MARK": mark}
    with subprocess.Popen(command, stdout=PIPE, env=environment) as process:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"

        process.send_signal(by)
        # The pipe's other end is closed when the last of them is gone.
        assert process.stdout.read() == b""


def test_a_machine_without_the_kernel_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BED_KERNEL", "/nowhere")

    ended = bed("true")

    assert ended.returncode == DIED
    assert "apt install --no-install-recommends user-mode-linux" in ended.stderr
