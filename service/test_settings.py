"""Settings that are spelt wrong are refused, wherever they are said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from service.manager import VolumeManager, manager_of
from service.settings import Unusable, load


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("HOLDFAST_AGENTKEY", "HOLDFAST_AGENTKEY .* did you mean HOLDFAST_AGENT_KEY?"),
        ("HOLDFAST_LOGLEVEL", "did you mean HOLDFAST_LOG_LEVEL?"),
        ("HOLDFAST_X", "HOLDFAST_X is no setting that the environment can have$"),
        ("HOLDFAST_DEADLINES", "HOLDFAST_DEADLINES is no setting"),
        ("HOLDFAST_DATABASE_PORT", "HOLDFAST_DATABASE_PORT is no setting"),
    ],
)
def test_an_unknown_setting_in_the_environment_is_refused(name: str, said: str) -> None:
    with pytest.raises(Unusable, match=said):
        load(None, {name: "a value", "HOLDFAST_LOG_LEVEL": "INFO"})


def test_an_unknown_setting_in_the_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "holdfast.toml"
    file.write_text('agentkey = "a value"\n')

    with pytest.raises(Unusable, match="agentkey"):
        load(file, {})


def test_a_file_is_utf_8_in_every_locale(tmp_path: Path) -> None:
    file = tmp_path / "holdfast.toml"
    file.write_text('volume_group = "größe"', "utf-8")
    ask = "from service.settings import *; print(ascii(load(Path(sys.argv[1]), {})))"
    locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}

    ended = subprocess.run(
        [sys.executable, "-c", f"import sys; {ask}", str(file)],
        env=locale,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ascii("größe") in ended.stdout


def test_what_others_put_into_the_environment_is_left_alone() -> None:
    plain = load(None, {})

    assert plain == load(
        None,
        {
            "HOME": "/root",
            "_HOLDFAST_COMPLETE": "complete_bash",
            "HOLDFAST_DATA": "/var/lib/holdfast",
            "HOLDFAST_SERVICE_HOST": "10.0.0.1",
            "HOLDFAST_SERVICE_PORT_NATS": "4222",
            "HOLDFAST_PORT": "tcp://10.0.0.1:4222",
            "HOLDFAST_PORT_4222_TCP_ADDR": "10.0.0.1",
            "HOLDFAST_NATS_SERVICE_HOST": "10.0.0.2",
        },
    )


A_BACKEND = '[[backend]]\nname = "one"\n'


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("[deadlines]\ncreating = 1e300", "deadlines: creating: .* 1000000000"),
        ("checkpoint_events = 1.5", "checkpoint_events: Not a valid integer"),
        ('metrics_listen = "127.0.0.1:٣"', "metrics_listen: Must be HOST:PORT"),
        ('metrics_listen = "127.0.0.1:65536"', "metrics_listen: Must be HOST:PORT"),
        ("[database]\nport = 0", "database: port: "),
        (
            f"{A_BACKEND}max_over_subscription_ratio = 1e308",
            "backend: one: max_over_subscription_ratio: .* 1000000",
        ),
        ("[[backend]]\nreserved_percentage = 3", "backend: number 1: name: Missing"),
        (f"{A_BACKEND}{A_BACKEND}", "backend: Two backends have the same name"),
        (
            f'{A_BACKEND}folder = "/v"\n[[backend]]\nname = "two"\nfolder = "/v/"',
            "backend: Two backends have the same folder",
        ),
        *(
            (f"{A_BACKEND}folder = {each}", "backend: A folder is an absolute path")
            for each in (
                "3",
                '""',
                '"volumes"',
                '"./volumes"',
                '"~/volumes"',
                r'"/v\u0000"',
            )
        ),
        ('[volume_type.""]', "volume_type: "),
        *(
            (f'nats_url = "{url}"', "nats_url: Must be one server, as nats://HOST:PORT")
            for url in (
                "",
                "nats://",
                "nats://127.0.0.1:99999",
                "nats://127.0.0.1:0",
                "nats://[::1",
                "nats://127.0.0.1:1,nats://127.0.0.1:2",
                "nats://a b",
                "http://127.0.0.1:4222",
            )
        ),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(
    tmp_path: Path, told: str, said: str
) -> None:
    file = tmp_path / "holdfast.toml"
    file.write_text(f"{told}\n")

    with pytest.raises(Unusable, match=said):
        load(file, {})


@pytest.mark.parametrize(
    "url", ["nats://127.0.0.1:4222", "tls://me:word@nats.example", "nats.example:4222"]
)
def test_a_server_may_be_named_as_nats_has_it(url: str) -> None:
    assert load(None, {"HOLDFAST_NATS_URL": url}).nats_url == url


def test_a_number_is_text_in_the_environment() -> None:
    assert load(None, {"HOLDFAST_NUM_SHELL_TRIES": "5"}).num_shell_tries == 5
    with pytest.raises(Unusable, match="num_shell_tries: Not a valid integer"):
        load(None, {"HOLDFAST_NUM_SHELL_TRIES": "5.5"})


@pytest.mark.parametrize(
    ("dotted", "said"),
    [
        ("pathlib.Path", "volume_manager: pathlib.Path is no VolumeManager"),
        ("..x", "there is no class ..x"),
    ],
)
def test_a_class_that_is_no_manager_is_refused(dotted: str, said: str) -> None:
    with pytest.raises(Unusable, match=said):
        manager_of(load(None, {"HOLDFAST_VOLUME_MANAGER": dotted}))


def test_the_manager_may_be_a_class_of_ones_own() -> None:
    dotted = f"{__name__}.{Own.__name__}"

    assert manager_of(load(None, {"HOLDFAST_VOLUME_MANAGER": dotted})) is Own


class Own(VolumeManager):
    """A manager that is another class."""
