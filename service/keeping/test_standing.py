"""How far behind what is kept is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from adapters.postgres.batch import Batch
from adapters.postgres.test_recorder import batch_of, new_volume
from domain.provenance import MOMENT, Moment, Provenance
from service.keeping.standing import seconds_behind
from service.manager import VolumeManager

LONG_AGO = Moment(datetime.now(UTC) - timedelta(hours=1), Provenance())


@pytest.mark.parametrize("state", [b"{}", b"no JSON", b'{"timestamp":1}'])
def test_what_does_not_tell_its_time_is_behind_as_what_is_before_it(
    manager: VolumeManager, state: bytes
) -> None:
    MOMENT.set(LONG_AGO)
    manager.recorder.append(batch_of(new_volume()))
    [event] = batch_of(new_volume()).events
    manager.recorder.append(Batch([replace(event, state=state)]))

    assert seconds_behind(manager.recorder, 0) > 3_500
    assert seconds_behind(manager.recorder, 1) > 3_500
    assert seconds_behind(manager.recorder, 2) == 0
