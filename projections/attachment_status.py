"""Who holds which volume: by volume, by host, by instance?"""

from __future__ import annotations

from collections.abc import Iterable

from domain.attachment import AttachStatus, reached_from
from domain.volume import Volume
from projections import resources
from projections.reading import ReadModel, Row, Touched


def rows(touched: Touched) -> Iterable[Row]:
    """Return the rows of a volume's live attachments, and of those that just ended."""
    volume = touched.aggregate
    if not isinstance(volume, Volume) or not (volume.attachments or volume.gone):
        return
    begun = {
        event.adds_part: position
        for event, position in touched.events
        if event.adds_part
    }
    named = {getattr(event, "attachment_id", None) for event, _ in touched.events}
    ended = [a for i, a in volume.gone.items() if i in named]
    for attachment in (*volume.attachments.values(), *ended):
        yield Row(
            str(attachment.id),
            begun.get(attachment.id, touched.events[0][1]),
            attachment.ended or volume.version,
            {
                "status": attachment.status,
                "volume_id": str(volume.id),
                "host": attachment.host
                or (attachment.connector and reached_from(attachment.connector)),
                "instance": attachment.instance,
                "backend": volume.backend,
                "project": volume.project,
                "since": attachment.since.isoformat(),
            },
            attachment.status == AttachStatus.DETACHED,
            resources.attachment(volume, attachment.id),
        )


ATTACHMENTS = ReadModel(
    "attachments",
    ("status", "volume_id", "host", "instance", "backend", "project", "since"),
    rows,
    nouns=frozenset({"volume"}),
    aging="status",
    edition=2,  # the first had no host of an attachment that an instance reserved
)
