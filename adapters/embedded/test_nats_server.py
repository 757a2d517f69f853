"""A private NATS server: who reaches it, and what is left of it when it dies."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from adapters.embedded.conftest import Start
from adapters.embedded.nats_server import SLACK_NS, NatsServer, nats_server
from adapters.embedded.process import ServerFailed, free_port, wait_until
from adapters.embedded.table import process

SERVER_OF_A_PARENT = """
import time
from pathlib import Path
from adapters.embedded.nats_server import NatsServer
server = NatsServer(Path({folder!r}), {port})
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""


def greeting(url: str) -> dict[str, Any]:
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        line = connection.makefile().readline()
    found: dict[str, Any] = json.loads(line.removeprefix("INFO "))
    return found


def test_it_answers_with_jetstream_on(tmp_path: Path) -> None:
    with nats_server(tmp_path) as url:
        assert greeting(url)["jetstream"] is True
        assert greeting(url)["host"] == "127.0.0.1"


def test_its_naps_are_long_enough_to_cost_little(tmp_path: Path) -> None:
    with nats_server(tmp_path):
        pid = int((tmp_path / "nats-server.pid").read_text())
        slack = Path(f"/proc/{pid}/timerslack_ns").read_text()

    assert int(slack) == SLACK_NS


def test_nothing_is_left_of_it_after_the_block(tmp_path: Path) -> None:
    with nats_server(tmp_path) as url:
        pid = int((tmp_path / "nats-server.pid").read_text())

    assert process(pid) is None
    with pytest.raises(ConnectionRefusedError):
        greeting(url)


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(ServerFailed) as failure:
            NatsServer(tmp_path, port).start()

    assert str(failure.value) == f"nats-server: port {port} on 127.0.0.1 is in use"


def test_a_killed_one_starts_again_on_its_port(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)
    server.start()
    server.kill()
    assert server.pid is None

    server.start()

    assert greeting(server.url)["port"] == server.port
    server.stop()


def test_it_dies_with_a_killed_parent_and_the_next_start_works(
    tmp_path: Path, parent: Start
) -> None:
    port = free_port()
    first = parent(SERVER_OF_A_PARENT.format(folder=str(tmp_path), port=port))
    assert first.stdout is not None
    pid = int(first.stdout.readline())

    first.kill()

    assert wait_until(lambda: process(pid) is None, seconds=5)
    with nats_server(tmp_path, port) as url:
        assert greeting(url)["port"] == port


def test_an_orphan_on_the_folder_is_ended_first(tmp_path: Path) -> None:
    orphan, successor = NatsServer(tmp_path), NatsServer(tmp_path)
    orphan.start()

    successor.start()

    assert orphan.pid is None
    successor.stop()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_ours_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(ServerFailed, match="Permission denied"):
        NatsServer(tmp_path / "nats").start()


def test_one_whose_configuration_cannot_be_written_has_failed(tmp_path: Path) -> None:
    (tmp_path / "nats.conf").mkdir()

    with pytest.raises(ServerFailed, match=r"nats\.conf cannot be written"):
        NatsServer(tmp_path).start()


def test_a_log_that_somebody_has_removed_says_nothing_of_a_full_disk(
    tmp_path: Path,
) -> None:
    server = NatsServer(tmp_path)
    server.start()
    (tmp_path / "nats-server.log").unlink()

    assert not server.stuck
    server.stop()
