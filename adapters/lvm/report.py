"""What LVM answers: one JSON document a command."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

DONE = 1  # LVM's word for success inside; programs exit with 0 instead
NO_WORD = 5  # with what LVM's programs exit that have failed
CRASHED = 139  # what a shell says of a program that died of a segmentation fault


class Line(msgspec.Struct, frozen=True):
    """What LVM said on its way."""

    log_type: str
    log_message: str
    log_ret_code: int


class Document(msgspec.Struct, frozen=True):
    """A report and its log, as LVM writes them."""

    report: list[dict[str, list[dict[str, str]]]] = []
    log: list[Line] = []


class Reply(NamedTuple):
    """What came of a command: its rows, what it complained of, and its exit status."""

    exit_status: int
    rows: list[dict[str, str]]
    said: str

    @property
    def done(self) -> bool:
        """Whether it has done what was asked."""
        return self.exit_status == 0


@dataclass(frozen=True)
class Lv:
    """A logical volume."""

    name: str
    size_bytes: int
    attr: str = "-wi-a-----"
    tags: frozenset[str] = frozenset()
    pool: str = ""
    origin: str = ""
    origin_bytes: int = 0  # what a thick snapshot's origin had when it was taken
    transaction_id: int = 0  # of what LVM had a thin pool do last
    thin_id: int = 0  # what its pool calls it
    uuid: str = ""

    @property
    def is_open(self) -> bool:
        """Whether something had its device open when it was last looked at."""
        return self.attr[5] == "o"

    @property
    def is_cow(self) -> bool:
        """Whether it is a thick snapshot: its size is what it can keep."""
        return self.attr[0] in "sS"

    @property
    def reads_bytes(self) -> int:
        """How much can be read of it."""
        return self.origin_bytes if self.is_cow else self.size_bytes

    @property
    def is_pool(self) -> bool:
        """Whether it is a thin pool."""
        return self.attr[0] == "t"

    @property
    def zeroes(self) -> bool:
        """Whether its new blocks read as zeros."""
        return self.attr[7] == "z"


COW = "swi-a-s---"  # the attributes of a thick snapshot
LV_FIELDS = (
    "lv_name,lv_size,lv_attr,lv_tags,pool_lv,origin,origin_size,transaction_id,thin_id,"
    "lv_uuid"
)
VG_FIELDS = "vg_size,vg_free,vg_extent_size,vg_missing_pv_count"


def reply_of(document: bytes) -> Reply | None:
    """Return what a document says, None for one that has not come to its end."""
    if not document.rstrip().endswith(b"}"):
        return None
    try:
        told = DECODER.decode(as_json(document))
    except msgspec.DecodeError:
        return None
    rows = [row for part in told.report for kind in part.values() for row in kind]
    errors = (line for line in told.log if line.log_type == "error")
    said = [line.log_message.rstrip(".") for line in errors]
    # A program of its own may warn of something after that.
    codes = [line.log_ret_code for line in told.log if line.log_type == "status"]
    code = codes[-1] if codes else NO_WORD
    status = 0 if code == DONE else code or NO_WORD
    return Reply(status, rows, "; ".join(dict.fromkeys(said)))


DECODER = msgspec.json.Decoder(Document, strict=False)
BLANKS = bytes.maketrans(bytes(range(0x20)), b" " * 0x20)
BACKSLASH = re.compile(rb'\\([\\"])?')


def as_json(document: bytes) -> str:
    r"""Return a document as others would write it: LVM escapes nothing but quotes.

    A disk may be called `/dev/mapper/my\x20disk`. Newer ones escape backslashes, too.
    """
    plain = document.translate(BLANKS)
    quoted = BACKSLASH.sub(lambda m: m[0] if m[1] else rb"\\", plain)
    return quoted.decode(errors="replace")


def lv_of(row: dict[str, str]) -> Lv:
    """Return the logical volume that a row of `lvs` tells of."""
    tags = frozenset(filter(None, row["lv_tags"].split(",")))
    return Lv(
        name=row["lv_name"],
        size_bytes=int(row["lv_size"]),
        attr=row["lv_attr"],
        tags=tags,
        pool=row["pool_lv"],
        origin=row["origin"],
        origin_bytes=int(row["origin_size"] or 0),
        transaction_id=int(row["transaction_id"] or 0),
        thin_id=int(row["thin_id"] or 0),
        uuid=row["lv_uuid"],
    )
