"""Settings that are spelt wrong are refused, wherever they are said."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.settings import Unusable, load


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("HOLDFAST_AGENTKEY", "HOLDFAST_AGENTKEY .* did you mean HOLDFAST_AGENT_KEY?"),
        ("HOLDFAST_LOGLEVEL", "did you mean HOLDFAST_LOG_LEVEL?"),
        ("HOLDFAST_X", "HOLDFAST_X is no setting that the environment can have$"),
        ("HOLDFAST_DEADLINES", "HOLDFAST_DEADLINES is no setting"),
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
