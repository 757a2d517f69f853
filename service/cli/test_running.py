"""`holdfast up`: how it stops, and what it says where it cannot start."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from time import monotonic

import nats
import pytest
from typer.testing import CliRunner

from adapters.embedded.nats_server import NatsServer
from adapters.embedded.process import free_port
from adapters.embedded.table import children_of, process
from service.audit.checkpointing import signer_in
from service.cli.app import app_of
from service.cli.client import (
    DESCRIPTION,
    Caller,
    Ended,
    Misused,
    Service,
    Unreachable,
)
from service.cli.conftest import HOLDFAST, Shell
from service.cli.running import in_one_line
from service.messages.text import without_secret
from service.permissions import configured
from service.up import DESCRIPTION as WRITTEN


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_stops_within_five_seconds_and_leaves_no_process(
    number: signal.Signals, tmp_path: Path
) -> None:
    with Shell(tmp_path / "data").up("--nats-port", "0") as up:
        children = children_of(up.pid)
        began = monotonic()
        up.send_signal(number)
        out, error = up.communicate()

    assert up.returncode == 0, error
    assert monotonic() - began < 5
    assert len(children) >= 2
    assert not any(process(pid) for pid in children)
    assert "Traceback" not in out + error


def test_a_second_up_on_a_folder_is_one_line(shell: Shell) -> None:
    ended = shell.run("up")

    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert str(shell.data) in ended.stderr


def test_whoever_has_read_enough_is_told_nothing_more(shell: Shell) -> None:
    read, write = os.pipe()
    os.close(read)

    ended = subprocess.run(
        [HOLDFAST, "volume", "list"],
        env=shell.environment,
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(write)

    assert (ended.returncode, ended.stderr) == (1, b"")


def test_an_output_that_takes_nothing_is_named(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [HOLDFAST, "up", "--data", str(tmp_path / "data"), "--nats-port", "0"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )

    said = "holdfast: standard output cannot be written: No space left on device\n"
    assert (ended.returncode, ended.stderr) == (1, said)


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        ended = Shell(tmp_path / "data").run("up", "--nats-port", port)

    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert port in ended.stderr
    assert "--nats-port" in ended.stderr


def test_a_replica_without_a_database_says_where_it_looked(
    shell: Shell, tmp_path: Path
) -> None:
    port, config = free_port(), tmp_path / "holdfast.toml"
    config.write_text(f"[database]\nport = {port}\npassword = 'hush'\n")
    more = {
        "HOLDFAST_AGENT_KEY": "0123456789abcdef",
        "HOLDFAST_NATS_URL": json.loads((shell.data / DESCRIPTION).read_text())[
            "nats_url"
        ],
    }

    ended = shell.run("serve", "--config", str(config), more=more)

    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    where = f"no database holdfast for the user holdfast answers at 127.0.0.1:{port};"
    assert where in ended.stderr
    assert "hush" not in ended.stderr


def test_a_service_whose_input_was_closed_runs_until_it_is_told_to_end(
    tmp_path: Path,
) -> None:
    asked = f"exec {HOLDFAST} up --data {tmp_path / 'data'} --nats-port 0 <&-"

    with subprocess.Popen(
        ["sh", "-c", asked], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as service:
        assert service.stdout
        lines = iter(service.stdout.readline, "")
        began = any("is ready" in line for line in lines)
        service.terminate()
        _, said = service.communicate(timeout=60)

    assert (began, service.returncode, said) == (True, 0, "")


def test_an_agent_without_its_driver_does_not_wait_for_a_broker(tmp_path: Path) -> None:
    more = {
        "HOLDFAST_AGENT_KEY": "0123456789abcdef",
        "HOLDFAST_NATS_URL": f"nats://127.0.0.1:{free_port()}",
    }

    ended = Shell(tmp_path).run("agent", "--driver", "nonsense", more=more)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "holdfast: there is no class nonsense\n"


@pytest.mark.parametrize(
    ("runs", "said", "more"),
    [
        ("serve", "agent_key must be set", {"HOLDFAST_AGENT_KEY": "short"}),
        ("agent", "HOLDFAST_LOG_LEVEL must be", {"HOLDFAST_LOG_LEVEL": "LOUD"}),
        ("agent", "does not know colour", {"HOLDFAST_AGENT_KEY": "0123456789abcdef"}),
    ],
)
def test_what_only_other_settings_mend_is_wrong_usage(
    runs: str, said: str, more: dict[str, str], tmp_path: Path
) -> None:
    config = tmp_path / "holdfast.toml"
    config.write_text("[[backend]]\nname = 'files'\ncolour = 'red'\n")
    more["HOLDFAST_NATS_URL"] = f"nats://127.0.0.1:{free_port()}"

    ended = Shell(tmp_path).run(runs, "--config", str(config), more=more)

    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert said in ended.stderr


def test_a_key_that_is_away_may_come_and_one_that_all_can_read_may_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "key").touch(mode=0o644)

    with pytest.raises(Misused, match="chmod 600"), in_one_line():
        signer_in(tmp_path / "key")
    with pytest.raises(Ended, match="cannot be read") as away, in_one_line():
        signer_in(tmp_path / "away")

    assert away.value.code == 1


def test_a_folder_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    written = json.dumps({"format": 99})
    (tmp_path / DESCRIPTION).write_text(written)

    ended = Shell(tmp_path).run("up")

    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "newer" in ended.stderr
    assert (tmp_path / DESCRIPTION).read_text() == written


WRONG = [
    ('colour = "red"', "colour"),
    ("colour = ", "TOML"),
    ("[[backend]]\nname = 'a b'", "backend"),
]


@pytest.mark.parametrize(("settings", "said"), WRONG)
def test_settings_that_are_wrong_are_one_line(
    settings: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "holdfast.toml").write_text(settings)

    ended = Shell(tmp_path).run("up", "--config", str(tmp_path / "holdfast.toml"))

    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert said in ended.stderr


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    ended = Shell(tmp_path / "file" / "data").run("up")

    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "--data" in ended.stderr


def test_the_command_looks_where_up_writes() -> None:
    assert DESCRIPTION == WRITTEN


def test_a_password_is_not_shown() -> None:
    nowhere = f"nats://holdfast:sekret@127.0.0.1:{free_port()}"

    ended = CliRunner().invoke(app_of(), ["volume", "list", "--nats", nowhere])

    assert isinstance(ended.exception, Unreachable)
    assert "sekret" not in f"{ended.exception}{ended.output}"
    assert without_secret(nowhere) == nowhere.replace("holdfast:sekret@", "")


def with_user(url: str) -> str:
    return url.replace("//", "//holdfast:sekret@")


def test_no_password_is_shown_where_a_broker_has_no_service(nats_url: str) -> None:
    asking = Service(Caller(Path(), nats=with_user(nats_url)))

    with asking, pytest.raises(Unreachable, match="no holdfast answers") as said:
        asking.ask("volume.list")

    assert "sekret" not in str(said.value)


def test_no_password_is_shown_where_no_answer_comes(nats_url: str) -> None:
    async def asked_in_vain() -> str:
        client = await nats.connect(nats_url)
        await client.subscribe("holdfast.v1.volume.list")
        await client.flush()
        with pytest.raises(Unreachable, match="no answer from") as said:
            await asyncio.to_thread(ask)
        await client.close()
        return str(said.value)

    def ask() -> None:
        with Service(Caller(Path(), nats=with_user(nats_url))) as service:
            service.patient(0.1).ask("volume.list")

    assert "sekret" not in asyncio.run(asked_in_vain())


def test_who_is_not_let_in_is_told_so(tmp_path: Path) -> None:
    broker = NatsServer(tmp_path, config=configured("another"))
    broker.start()

    ended = Shell(tmp_path).run("volume", "list", "--nats", with_user(broker.url))
    broker.stop()

    assert (ended.returncode, ended.stderr.count("\n")) == (3, 1)
    assert "takes no such user or password" in ended.stderr
    assert "sekret" not in ended.stderr
