"""The volume manager as the eventsourcing library sees it: one log."""

from __future__ import annotations

from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.utils import EnvType

from adapters.postgres.mapper import LogMapper
from adapters.postgres.recorder import LogRecorder
from service.settings import Settings, Unusable, found


class VolumeManager(Application[UUID]):
    """Wires the recorder and the mapper; reads anything at any version.

    Commands go through `service.deciding.log`: saved one by one, each would cost a
    transaction.
    """

    name = "holdfast"
    env = {  # noqa: RUF012 - the library's own way to set defaults
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "APPLICATION_RECORDER_TOPIC": "adapters.postgres.recorder:LogRecorder",
        "POSTGRES_POOL_SIZE": "2",
        "POSTGRES_MAX_OVERFLOW": "10",
        # Seconds that a reader waits for a connection before it says why.
        "POSTGRES_CONNECT_TIMEOUT": "2",
        "POSTGRES_MAX_WAITING": "0",
    }

    recorder: LogRecorder

    def __init__(self, env: EnvType | None = None) -> None:
        super().__init__(env)

    def construct_mapper(self) -> LogMapper:
        return LogMapper()


def manager_of(settings: Settings) -> type[VolumeManager]:
    """Return the class that decides commands; raise `Unusable`."""
    kind: type = found(settings.volume_manager)
    if not issubclass(kind, VolumeManager):
        raise Unusable(f"volume_manager: {settings.volume_manager} is no VolumeManager")
    return kind
