"""A share of the log, verified and rebuilt beside the database."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from adapters.postgres.copying import Row, log_rows
from domain import log
from domain.chain import link
from projections.replaying import WRONG, NotALog, Share, Told, Wrong, said

# With each row goes what was before it in the log: so it is verified by itself, and
# those of all shares together are the whole chain.
SHARE_OUT = SQL("""
    COPY (SELECT originator_id, originator_version, topic, state, notification_id,
                 chain, before, place
          FROM (SELECT *, lag(notification_id, 1, 0::bigint) OVER log AS place,
                       lag(chain, 1, decode(repeat('00', 32), 'hex')) OVER log AS before
                FROM {log} WHERE notification_id <= {last}
                WINDOW log AS (ORDER BY notification_id)) AS rows
          WHERE get_byte(uuid_send(originator_id), 15) % {of} = {share}
          ORDER BY notification_id)
    TO STDOUT (FORMAT BINARY)
""")
ID = slice(4, 20)  # of what is hashed
CHAIN, BEFORE, PLACE = slice(32), slice(36, 68), slice(72, 80)  # behind the position


def aggregates_of(
    connection: Connection[Any],
    table: tuple[str, ...],
    last: int,
    share: Share,
    told: Told,
) -> dict[bytes, Any]:
    """Return what a share of the log up to a position comes to; raise `NotALog`."""
    query = SHARE_OUT.format(
        log=Identifier(*table), last=last, share=share.number, of=share.of
    )
    aggregates: dict[bytes, Any] = {}
    position = 0
    try:
        with connection.cursor().copy(query) as rows:
            for row in log_rows(rows):
                position = row.position
                take(aggregates, row)
                told(position)
    except psycopg.Error as error:
        why = f"the database cannot send it: {error}"
        raise NotALog(why, position + 1, position + 1) from error
    except WRONG as wrong:
        raise NotALog(said(wrong), position, position) from wrong
    told(last)
    return aggregates


def take(aggregates: dict[bytes, Any], row: Row) -> None:
    """Verify a row, and bring its aggregate to the version after it."""
    tail, key = row.chain, row.hashed[ID]
    follows = row.position == int.from_bytes(tail[PLACE]) + 1
    if not follows or link(tail[BEFORE], row.hashed) != tail[CHAIN]:
        raise Wrong("the log is not what was written there")
    event = log.decode(row.topic, row.state)
    if event.originator_id.bytes != key:
        raise Wrong("the event is of something else than its row")
    aggregates[key] = event.mutate(aggregates.get(key))
