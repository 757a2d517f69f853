"""The stream that the log is published to."""

from __future__ import annotations

STREAM = "HOLDFAST_EVENTS"
SUBJECTS = "holdfast.v1.events"
REMOVE = (
    f"remove the stream (nats stream rm {STREAM}; with `up`, once it has ended, "
    f"nats/jetstream/HOLDFAST/streams/{STREAM} of the data folder)"
)
PUBLISHED = "stream"  # its name among all that can be behind the log


class Ahead(Exception):
    """The stream holds what the log does not: they do not belong together."""
