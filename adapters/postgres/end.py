"""Where the log ends, and whether it still has what was its end before."""

from __future__ import annotations

from typing import NamedTuple

from adapters.postgres.recorder import LogRecorder
from domain.chain import GENESIS, Broken

# The row that was the log's end, and the one that is.
ENDS = """
    SELECT notification_id AS position, chain FROM {log} WHERE notification_id
        IN (%s, (SELECT max(notification_id) FROM {log})) ORDER BY notification_id
"""


class End(NamedTuple):
    """The last event of the log at a moment."""

    position: int = 0
    chain: bytes = GENESIS


class Lost(Broken):
    """The log had an event at the position named, and has it no more."""

    def __str__(self) -> str:
        return f"the log has lost what it had at position {self.position}"


def grown(recorder: LogRecorder, seen: End) -> End:
    """Return where the log ends; raise `Lost` unless it ended there before."""
    with recorder.datastore.cursor() as cursor:
        cursor.execute(recorder.sql(ENDS), (seen.position,), binary=True)
        ends = [End(*row.values()) for row in cursor.fetchall()]
    if seen.position and seen not in ends:
        raise Lost(seen.position)
    return ends[-1] if ends else seen
