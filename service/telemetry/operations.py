"""What is told of a driver's operation: how long it took, and a line."""

from __future__ import annotations

import logging

from adapters.jetstream.operation import Operation
from service.telemetry.metrics import OPERATIONS

logger = logging.getLogger("holdfast.agent")


def note(operation: Operation) -> None:
    """Count it, and write a line of what it was: never of what a driver was told."""
    labels = operation.backend, operation.name, operation.outcome
    OPERATIONS.labels(*labels).observe(operation.seconds)
    logger.info(
        "worked",
        extra={
            "backend": operation.backend,
            "operation": operation.name,
            "id": str(operation.id),
            "cause": operation.position,
            "lease": operation.lease,
            "duration_ms": round(operation.seconds * 1000, 3),
            "outcome": operation.outcome,
        },
    )
