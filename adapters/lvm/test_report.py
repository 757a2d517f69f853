"""What LVM answers is read whole, and its refusals are told apart."""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from adapters.lvm import snapshots, surveying, volumes
from adapters.lvm.failures import (
    GroupOutOfSight,
    HasUnmanaged,
    NoSpace,
    PoolFull,
    failure_of,
)
from adapters.lvm.group import Seen, is_as
from adapters.lvm.report import Lv, lv_of, reply_of
from adapters.lvm.reverting import RESTORED
from adapters.lvm.thin import usage_in
from domain.ports import VolumeIsBusy

ROW = {
    "lv_name": "volume-1",
    "lv_size": "4194304",
    "lv_attr": "Vwi-aotz--",
    "lv_tags": "a=1,b/2",
    "pool_lv": "pool",
    "origin": "",
    "origin_size": "",
    "transaction_id": "",
    "thin_id": "",
    "lv_uuid": "",
}


def document(status: str, *errors: str) -> bytes:
    said = [("error", error, "0") for error in errors] + [("status", "", status)]
    names = ("log_type", "log_message", "log_ret_code")
    log = [dict(zip(names, line, strict=True)) for line in said]
    return json.dumps({"report": [{"lv": [ROW]}], "log": log}).encode()


def test_an_answer_is_read_when_it_has_come_to_its_end() -> None:
    whole = document("1")

    answers = [reply_of(whole[:length]) for length in range(len(whole))]

    assert not any(answers)
    reply = reply_of(whole + b"\n")
    assert reply
    assert reply.done
    assert reply.rows == [ROW]


def test_a_refusal_says_why_once() -> None:
    reply = reply_of(document("5", "no room", "no room"))

    assert reply
    assert not reply.done
    assert reply.said == "no room"


@pytest.mark.parametrize(
    ("told", "read"),
    [
        (rb"/dev/mapper/my\x20disk", r"/dev/mapper/my\x20disk"),
        (rb"/dev/mapper/my\\x20disk", r"/dev/mapper/my\x20disk"),  # by newer ones
        (rb"no \"disk\" of \u", r'no "disk" of \u'),
        (b"first\n\tsecond \x1b", "first  second  "),
        (b"/dev/caf\xe9", "/dev/caf\ufffd"),
    ],
)
def test_what_no_json_has_is_read_nevertheless(told: bytes, read: str) -> None:
    reply = reply_of(document("5", "WORDS").replace(b"WORDS", told))

    assert reply
    assert reply.said == read


def test_a_row_is_a_logical_volume() -> None:
    lv = lv_of(ROW)

    assert lv.size_bytes == 4194304
    assert lv.tags == {"a=1", "b/2"}
    assert lv.is_open
    assert not lv.is_cow


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ('Volume group "g" has insufficient free space (2 extents)', NoSpace),
        ("free space in thin pool g/g-pool reached threshold.", PoolFull),
        ('Volume group "g" not found', GroupOutOfSight),
        ("Logical volume g/v is used by another device.", VolumeIsBusy),
        ("Logical volume g/v contains a filesystem in use.", VolumeIsBusy),
    ],
)
def test_what_lvm_says_is_told_apart(said: str, kind: type[Exception]) -> None:
    assert isinstance(failure_of("g", "lvcreate", said), kind)


@pytest.mark.parametrize(
    ("said", "heals"),
    [
        ("Can't get lock for g", True),
        ("Cannot process suspended device", True),
        ("Failed to read block device", False),
        ('Logical Volume "v" already exists', False),
    ],
)
def test_only_what_heals_by_itself_is_tried_again(said: str, *, heals: bool) -> None:
    assert failure_of("g", "lvcreate", said).can_heal is heals


def test_a_change_is_known_by_what_is_there_after_it() -> None:
    wanted = Lv("v", 8, tags=frozenset({"a"}))

    assert is_as(Lv("v", 12, tags=frozenset({"a", "b"})), wanted)
    assert not is_as(Lv("v", 4, tags=frozenset({"a"})), wanted)
    assert not is_as(Lv("v", 8), wanted)
    assert not is_as(None, wanted)
    assert is_as(None, None)


def test_what_is_free_follows_what_we_change() -> None:
    seen = Seen("u", 100, 100, 4, frozenset(), {}, 0.0)

    made = seen.with_one("v", Lv("v", 8))
    grown = made.with_one("v", Lv("v", 12))
    thin = grown.with_one("t", Lv("t", 50, pool="p"))
    gone = thin.with_one("v", None)

    free = [each.free_bytes for each in (made, grown, thin, gone)]
    assert free == [92, 88, 88, 100]


def test_the_kernel_tells_how_full_a_pool_is() -> None:
    usage = usage_in("1 16/4096 512/2048 - rw no_discard_passdown queue_if_no_space")

    assert usage == (25.0, 0.390625)
    assert usage_in("Fail") is None


@pytest.mark.parametrize("tag", [volumes.CLEARED, volumes.COPIED, RESTORED])
@pytest.mark.parametrize("said", ["", "x", "-1", "1.5", "1_0"])
def test_how_much_is_done_is_none_where_a_tag_says_no_number(
    tag: str, said: str
) -> None:
    lv = Lv("volume-1", 4096, tags=frozenset({f"{tag}{said}"}))

    assert volumes.kept(lv, tag) == 0
    assert volumes.kept(volumes.with_kept(lv, tag, 8), tag) == 8


@pytest.mark.parametrize(
    "what", ["volume", "snapshot", "of", "was-of", "for", "made-by", "mended", "by"]
)
@pytest.mark.parametrize("said", ["", "x", "1/", "x/y"])
def test_a_tag_that_says_nothing_is_in_no_ones_way(what: str, said: str) -> None:
    lv = Lv("strange", 4096, tags=frozenset({f"holdfast.{what}={said}"}))

    [told] = surveying.objects({lv.name: lv}, "pool")

    assert told.id is None
    assert volumes.offered(lv).reference == {"source-name": "strange"}
    assert not snapshots.could_be(lv)


def test_whose_volume_is_deleted_is_not_sent_to_manage_its_snapshots() -> None:
    told = str(HasUnmanaged(UUID(int=1), ["strange"]))

    assert "unless the volume is deleted" in told.partition("`lvremove`")[2]
