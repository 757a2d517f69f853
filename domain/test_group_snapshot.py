"""Group snapshots, given what happened before."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from domain.aggregate import Done
from domain.group_snapshot import GroupSnapshot, GroupSnapshotStatus, Member
from domain.lifecycle import Refused

ONE, OTHER = UUID(int=1), UUID(int=2)


def asked() -> GroupSnapshot:
    """Return snapshots of two members that are being taken."""
    members = [Member(each, uuid4(), 1) for each in (ONE, OTHER)]
    about = {"group_id": uuid4(), "backend": "files"}
    return GroupSnapshot.create(uuid4(), consistent=True, members=members, **about)


def test_no_group_is_made_of_what_is_not_taken_yet() -> None:
    with pytest.raises(Refused):
        asked().check_source()


def test_whoever_waits_does_so_until_all_are_taken_or_gone_and_asks_once() -> None:
    both = asked()
    seen = [both.unsettled]

    both.report(1, Done(consistent=True))
    seen.append(both.unsettled)
    for gone in (ONE, OTHER):
        both.delete()
        seen.append(both.unsettled)
        both.member_gone(gone)
    seen.append(both.unsettled)
    both.delete()

    assert seen == [True, False, True, True, False]
    # Made, taken, asked for once to go, and each of the two gone.
    assert (both.version, both.status) == (5, GroupSnapshotStatus.DELETED)
