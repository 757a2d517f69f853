"""What an auditor finds out who has kept a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psycopg
import pytest

from domain.checkpoint import Checkpoint
from domain.note import Signer, Verifier
from service.audit.checkpointing import signer_in
from service.cli import verifying
from service.cli.app import run
from service.cli.client import Caller, Ended, Misused, Service
from service.cli.conftest import Shell

REWRITE = """
    DO $$
    DECLARE
        event record;
        link bytea := decode(repeat('00', 32), 'hex');
    BEGIN
        UPDATE holdfast_events SET state = convert_to(
            replace(convert_from(state, 'UTF8'), '"me"', '"you"'), 'UTF8')
        WHERE notification_id = {0};
        FOR event IN SELECT * FROM holdfast_events ORDER BY notification_id LOOP
            link := sha256(link
                || int4send(16) || uuid_send(event.originator_id)
                || int4send(8) || int8send(event.originator_version)
                || int4send(octet_length(event.topic))
                || convert_to(event.topic, 'UTF8')
                || int4send(octet_length(event.state)) || event.state);
            UPDATE holdfast_events SET chain = link
            WHERE notification_id = event.notification_id;
        END LOOP;
    END $$
"""
CUT_OFF = "DELETE FROM holdfast_events WHERE notification_id > {0}"


Options = list[str]


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell beside an `up` of its own, which signs each event at once."""
    monkeypatch.setenv("HOLDFAST_CHECKPOINT_EVENTS", "1")
    shell = Shell(tmp_path / "data")
    with shell.up("--nats-port", "0"):
        yield shell


def grow(shell: Shell) -> int:
    """Have something happen, and return the log's last position once it is signed."""
    shell.told("volume", "create", "--size", "1", "--wait", "--actor", "me")
    end = int(shell.told("audit", "verify")["to"])
    until = monotonic() + 60
    while signed_to(shell) < end:
        assert monotonic() < until
        sleep(0.05)
    return end


def signed_to(shell: Shell) -> int:
    """Return up to where the log is signed, 0 where nothing is yet."""
    asked = shell.run("audit", "checkpoint", "--json")
    return int(json.loads(asked.stdout)["size"]) if asked.returncode == 0 else 0


def keep(shell: Shell) -> Options:
    """Keep the newest checkpoint with those before; return what is verified with."""
    told, path = shell.told("audit", "checkpoint"), shell.data.with_name("kept")
    notes = f"{path.read_text()}\n" if path.exists() else ""
    path.write_text(notes + told["note"])
    return ["--checkpoint", str(path), "--key", told["key"]]


def tamper(shell: Shell, statement: str, position: int) -> None:
    """Do something to the log behind everybody's back."""
    told = (shell.data / "postgres" / "data" / "postmaster.pid").read_text()
    _, _, _, port, sockets, *_ = told.splitlines()
    with psycopg.connect(
        host=sockets, port=port, user="postgres", dbname="postgres", autocommit=True
    ) as connection:
        connection.execute(statement.format(position).encode())


def verified(shell: Shell, *options: str) -> dict[str, Any]:
    ended = shell.run("audit", "verify", "--json", *options)
    told: dict[str, Any] = json.loads(ended.stdout)
    assert ended.returncode == (0 if told["intact"] else 1)
    return told


def test_a_log_that_only_grew_is_what_was_signed(alone: Shell) -> None:
    grow(alone)
    keep(alone)
    grow(alone)
    kept = keep(alone)
    grow(alone)

    assert (
        verified(alone, *kept)["intact"],
        verified(alone, *kept)["checkpoints"],
    ) == (
        True,
        2,
    )


def test_a_log_that_was_rewritten_is_found_by_a_checkpoint_alone(alone: Shell) -> None:
    first = grow(alone)
    keep(alone)
    second = grow(alone)
    kept = keep(alone)
    tamper(alone, REWRITE, first + 1)

    assert verified(alone)["intact"]
    told = verified(alone, *kept)
    assert (told["intact"], told["first_bad"]) == (False, first + 1)
    assert f"positions {first + 1} to {second} are not all" in told["detail"]


def test_a_log_that_was_cut_off_is_found_by_a_checkpoint_alone(alone: Shell) -> None:
    end = grow(alone)
    kept = keep(alone)
    tamper(alone, CUT_OFF, end - 1)

    assert verified(alone)["intact"]
    told = verified(alone, *kept)
    assert (told["intact"], told["first_bad"]) == (False, end)
    assert f"{end} events were signed on" in told["detail"]


def test_an_export_has_the_checkpoints_with_it(alone: Shell, tmp_path: Path) -> None:
    end = grow(alone)
    key = alone.told("audit", "checkpoint")["key"]
    grown, rewritten = str(tmp_path / "1.zst"), str(tmp_path / "2.zst")

    alone.run("audit", "export", grown)
    tamper(alone, REWRITE, end - 1)
    alone.run("audit", "export", rewritten)

    told = json.loads(
        alone.run("audit", "replay", grown, "--key", key, "--json").stdout
    )
    assert (told["vouched_to"], told["signatures"]) == (end, True)
    refused = alone.run("audit", "replay", rewritten, "--key", key)
    assert refused.returncode == 1
    assert "checkpoint" in refused.stderr


def test_a_checkpoint_is_printed_as_it_is_to_be_kept(shell: Shell) -> None:
    printed = shell.run("audit", "checkpoint")

    told = shell.told("audit", "checkpoint")
    if printed.stdout != told["note"]:  # another one was signed meanwhile
        printed = shell.run("audit", "checkpoint")
    assert (printed.stdout, printed.stderr.strip()) == (told["note"], told["key"])


def test_a_long_log_is_verified_piece_by_piece(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        shell.told("volume", "create", "--size", "1", "--wait")
    monkeypatch.setattr(verifying, "STRETCH", 2)
    seen: list[tuple[int, int]] = []

    with Service(Caller(shell.data)) as service:
        told = verifying.verify(service, 1, 5, [], lambda *done: seen.append(done))

    assert seen == [(2, 5), (4, 5), (5, 5)]
    assert (told["from"], told["to"], told["events"]) == (1, 5, 5)
    assert told == shell.told("audit", "verify", "--to", "5")


def test_a_proof_is_checked_before_it_is_shown(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.told("volume", "create", "--size", "1", "--wait")
    commands = ("prove-inclusion", "2", "--size", "3"), ("prove-consistency", "2", "3")

    for command in commands:
        ended = shell.run("audit", *command)
        assert (ended.returncode, ended.stdout.split()[:3]) == (
            0,
            ["FROM", "TO", "HASH"],
        )
        assert "proven: " in ended.stderr
    monkeypatch.setattr(verifying, "path_in", lambda _: [bytes(32)])
    with Service(Caller(shell.data)) as service:
        for proven in (verifying.included, verifying.grown):
            with pytest.raises(Ended, match="does not prove"):
                proven(service, 2, 3)


def test_a_root_hash_that_the_log_does_not_have_is_found(shell: Shell) -> None:
    shell.told("volume", "create", "--size", "1", "--wait")
    now = datetime.now(UTC)

    with Service(Caller(shell.data)) as service:
        chain = bytes.fromhex(service.ask("audit.verify", to=3)["chain"])
        forged = Checkpoint("test", 3, bytes(32), chain, now)
        told = verifying.verify(service, 1, None, [forged], lambda *_: None)
        before = verifying.verify(service, 1, 2, [forged], lambda *_: None)

    assert not told["intact"]
    assert "its root hash is not what was signed" in told["detail"]
    assert (before["intact"], before["checkpoints"]) == (True, 0)
    passed_over = before["not_looked_at"]
    assert passed_over["checkpoints"] == [f"3 on {now:%Y-%m-%dT%H:%M:%SZ}"]
    assert "more than the 2 events" in passed_over["why"]
    assert "not_looked_at" not in told


def test_half_of_it_is_no_use(shell: Shell) -> None:
    for given in (["--key", "x"], ["--checkpoint", "x"]):
        ended = shell.run("audit", "verify", *given)

        assert ended.returncode == 2
        assert "only together" in ended.stderr


def test_what_is_no_checkpoint_of_that_key_is_said(tmp_path: Path) -> None:
    one, other = (Signer("holdfast/test", bytes([n] * 32)) for n in range(2))
    path = tmp_path / "kept"
    path.write_text(one.signed("holdfast/test\n"))

    with pytest.raises(Ended, match="not signed with the key of holdfast/test"):
        verifying.checkpoints_in(path, str(other.verifier))
    with pytest.raises(Ended, match="no checkpoint of a log"):
        verifying.checkpoints_in(path, str(one.verifier))
    with pytest.raises(Misused, match="no key of a signed note"):
        verifying.checkpoints_in(path, "key")
    with pytest.raises(Misused, match="No such file"):
        verifying.checkpoints_in(tmp_path / "none", str(one.verifier))


def test_a_key_is_made_once(shell: Shell, tmp_path: Path) -> None:
    made = shell.run("audit", "keygen", str(tmp_path / "key"), "--name", "log.example")
    again = shell.run("audit", "keygen", str(tmp_path / "key"))
    other = json.loads(
        shell.run("audit", "keygen", str(tmp_path / "other"), "--json").stdout
    )

    assert Verifier.read(other["key"]) == signer_in(tmp_path / "other").verifier
    assert Verifier.read(made.stdout) == signer_in(tmp_path / "key").verifier
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert "File exists" in again.stderr


@pytest.mark.parametrize("file", ["", ".", "/"])
def test_a_key_is_made_in_a_file_that_has_a_name(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit", "keygen", file]) == 2
    assert "names no file" in capsys.readouterr().err
