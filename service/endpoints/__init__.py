"""What callers may ask, one module a noun; each endpoint below its schema.

Start with `service.endpoints.volumes`; `agents` is what agents say, which callers
may not. How a request becomes a decision is in `endpoint`, how its answer leaves in
`sending`, and what it may wait for in `waiting`. What the messages share is in
`service.messages.schema`.
"""

from __future__ import annotations

from service.endpoints import (
    agents,
    attachments,
    audit,
    backends,
    group_snapshots,
    groups,
    projections,
    proofs,
    snapshots,
    volumes,
)

ENDPOINTS = (
    *volumes.ENDPOINTS,
    *attachments.ENDPOINTS,
    *snapshots.ENDPOINTS,
    *groups.ENDPOINTS,
    *group_snapshots.ENDPOINTS,
    *backends.ENDPOINTS,
    *audit.ENDPOINTS,
    *proofs.ENDPOINTS,
    *projections.ENDPOINTS,
)
FOR_AGENTS = agents.ENDPOINTS
