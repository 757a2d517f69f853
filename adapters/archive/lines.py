"""The lines of a file that are no events: the first ones, and the last."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

FORMAT = 1


class Head(msgspec.Struct, forbid_unknown_fields=True):
    """The first line: whose format it is, and how many lines of each kind follow."""

    holdfast_log: int
    release: str
    events: Annotated[int, Meta(ge=0, lt=2**62)]
    checkpoints: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class Vouched(msgspec.Struct, forbid_unknown_fields=True):
    """A checkpoint of the log, as it was signed."""

    checkpoint: str


class End(msgspec.Struct, forbid_unknown_fields=True):
    """The last line: how many events there were, and the link of the last."""

    events: int
    link: str
