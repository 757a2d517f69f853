"""A log leaves a running service, and is replayed without one."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from domain.checkpoint import Checkpoint
from service.audit.checkpointing import signer_in
from service.cli.conftest import HOLDFAST, Shell

# A locale that has no more than 128 characters; Python makes UTF-8 of it by itself.
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def alone(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that knows of no service, and of no settings."""
    return subprocess.run(
        [HOLDFAST, "audit", *arguments],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def told(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert (ended.returncode, ended.stderr) == (0, "")
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


@pytest.fixture
def file(shell: Shell, tmp_path: Path) -> Path:
    shell.told("volume", "create", "exported", "--size", "1", "--wait")
    file = tmp_path / "log.jsonl.zst"
    shell.told("audit", "export", str(file))
    return file


def test_a_replay_elsewhere_comes_to_what_the_service_does(
    shell: Shell, file: Path
) -> None:
    found = told(alone("replay", str(file), "--json"))

    here = shell.told("audit", "digest", "--position", str(found["events"]))
    assert here.items() <= found.items()
    assert found["totals"]["volume"]["available"] >= 1


def test_a_policy_is_tried_on_it(file: Path) -> None:
    ratio = "max_over_subscription_ratio=1"

    same = told(alone("replay", str(file), "--with", "reserved_percentage=0", "--json"))
    other = told(
        alone("replay", str(file), "--with", "reserved_percentage=100", "--json")
    )

    assert (same["differ"], same["cannot_say"]) == (0, 0)
    # Of what would not have been made, nothing else is judged.
    assert same["judged"] >= other["judged"] == other["differ"] >= 1
    assert alone("replay", str(file), "--with", ratio.upper()).returncode == 2


def test_a_file_that_is_no_log_is_refused(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])

    ended = alone("replay", str(file))

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("holdfast: line ")
    assert ended.stderr.count("\n") == 1


def test_what_cannot_be_read_twice_is_refused(file: Path) -> None:
    ended = subprocess.run(
        ["sh", "-c", f"{HOLDFAST} audit replay <{file} /dev/stdin"],
        capture_output=True,
        text=True,
        check=False,
    )
    piped = subprocess.run(
        ["sh", "-c", f"cat {file} | {HOLDFAST} audit replay /dev/stdin"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0
    assert piped.stderr == "holdfast: a pipe cannot be read twice; give a file\n"


def test_a_file_is_held_to_a_checkpoint_that_was_kept(
    shell: Shell, file: Path, tmp_path: Path
) -> None:
    signer = signer_in(shell.data / "checkpoint.key")
    end = told(alone("replay", str(file), "--json"))
    kept, key = tmp_path / "kept", ["--key", str(signer.verifier)]
    options = [str(file), "--checkpoint", str(kept)]

    def replayed(size: int) -> subprocess.CompletedProcess[str]:
        """Replay it with what somebody kept who saw another log of that size."""
        link, now = bytes.fromhex(end["digest"]), datetime.now(UTC)
        other = Checkpoint(signer.name, size, bytes(32), link, now)
        kept.write_text(other.signed(signer))
        return alone("replay", *options, *key)

    assert "a checkpoint says otherwise" in replayed(end["events"]).stderr
    assert "the log is not what was signed up to" in replayed(10**6).stderr
    assert alone("replay", *options).returncode == 2
    kept.write_text(shell.told("audit", "checkpoint")["note"])
    assert told(alone("replay", *options, *key, "--json"))["kept"] == 1


def test_a_checkpoint_is_the_same_bytes_in_every_locale(
    shell: Shell, tmp_path: Path
) -> None:
    shell.told("volume", "create", "plain", "--size", "1", "--reason", "żółw")
    kept, told = tmp_path / "kept", shell.told("audit", "checkpoint")

    printed = shell.run("audit", "checkpoint", more=ASCII)
    kept.write_text(printed.stdout, "utf-8")
    options = ["--checkpoint", str(kept), "--key", told["key"]]
    verified = shell.run("audit", "verify", *options, more=ASCII)
    history = shell.run("audit", "history", "plain", more=ASCII)

    assert (printed.returncode, printed.stdout) == (0, told["note"])
    assert (verified.returncode, verified.stderr) == (0, "")
    assert history.returncode == 0
    assert "żółw" in history.stdout


@pytest.mark.parametrize("key", ["secret", ""])
def test_a_key_that_is_none_is_wrong_usage(file: Path, key: str) -> None:
    assert alone("replay", str(file), "--key", key).returncode == 2


def test_a_file_that_is_there_is_not_written_over(shell: Shell, file: Path) -> None:
    ended = shell.run("audit", "export", str(file))

    assert ended.returncode == 1
    assert "File exists" in ended.stderr


def test_where_nothing_runs_there_is_nothing_to_export(tmp_path: Path) -> None:
    ended = alone("export", str(tmp_path / "log"), "--data", str(tmp_path))

    assert (ended.returncode, ended.stderr.count("\n")) == (3, 1)
    assert f"no holdfast runs on {tmp_path}; start it with `holdfast up`" in (
        ended.stderr
    )
