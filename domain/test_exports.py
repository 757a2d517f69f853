"""Who is to reach a volume, and by what the last way is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.aggregate import Done, NotDone
from domain.attachment import AttachStatus
from domain.lifecycle import Refused
from domain.volume import Volume
from domain.volume_status import Status

DONE = Done(location="/volumes/db", connection={"data": {}})
FAILED = NotDone("driver_failed", "the target is stuck")
BUSY = NotDone("busy", "somebody has it open", busy=True)
NODE_1 = {"host": "node-1", "initiator": "iqn.2026-01.example:node-1"}
NODE_2 = {"host": "node-2", "initiator": "iqn.2026-01.example:node-2"}
A, B = UUID(int=1), UUID(int=2)


def settle(volume: Volume, result: Done | NotDone = DONE) -> Volume:
    volume.report(max(volume.in_flight), result)
    return volume


def available() -> Volume:
    made = Volume.create(uuid4(), size_gib=1, backend="lvm", multiattach=True)
    return settle(made)


def connecting(volume: Volume, held: UUID = A, to: Any = NODE_1) -> Volume:
    volume.hold(held, instance=f"web-{held.int}")
    volume.connect(held, to)
    return volume


def connected(volume: Volume, held: UUID = A, to: Any = NODE_1) -> Volume:
    return settle(connecting(volume, held, to))


def attached(volume: Volume, held: UUID = A, to: Any = NODE_1) -> Volume:
    connected(volume, held, to).complete(held)
    return volume


def exported(volume: Volume) -> Volume:
    volume.export(NODE_1)
    return settle(volume)


def asked(volume: Volume, *commands: Callable[[Volume], Any]) -> Volume:
    for command in commands:
        command(volume)
    return volume


# fmt: off
REACHED: dict[str, tuple[Callable[[], Volume], list[Any]]] = {
    "creating": (lambda: Volume.create(uuid4(), size_gib=1, backend="lvm"), []),
    "error": (lambda: settle(
        Volume.create(uuid4(), size_gib=1, backend="lvm"), FAILED), []),
    "available": (available, []),
    "reserved": (lambda: asked(
        available(), lambda v: v.hold(A, instance="web-1")), []),
    "being connected": (lambda: connecting(available()), []),
    "error_attaching": (lambda: settle(connecting(available()), FAILED), []),
    "connected": (lambda: connected(available()), [NODE_1]),
    "attached": (lambda: attached(available()), [NODE_1]),
    "attached, connecting anew": (lambda: asked(
        attached(available()), lambda v: v.connect(A, NODE_1)), [NODE_1]),
    "attached, and that has failed": (lambda: settle(asked(
        attached(available()), lambda v: v.connect(A, NODE_1)), FAILED), [NODE_1]),
    "asked to let go": (lambda: asked(
        attached(available()), lambda v: v.begin_detaching()), [NODE_1]),
    "being disconnected": (lambda: asked(
        attached(available()), lambda v: v.detach()), [NODE_1]),
    "error_detaching": (lambda: settle(asked(
        attached(available()), lambda v: v.detach()), FAILED), [NODE_1]),
    "detached": (lambda: settle(asked(
        attached(available()), lambda v: v.detach())), []),
    "two hosts": (lambda: attached(attached(available()), B, NODE_2),
        [NODE_1, NODE_2]),
    "two holds of one host": (lambda: attached(attached(available()), B), [NODE_1]),
    "a hold and a way without one": (lambda: exported(attached(available())),
        [NODE_1]),
    "a way without a hold": (lambda: exported(available()), [NODE_1]),
    "a way taken back": (lambda: settle(asked(
        exported(available()), lambda v: v.unexport(NODE_1))), []),
    "extending": (lambda: asked(
        attached(available()), lambda v: v.extend(2)), [NODE_1]),
    "error_extending": (lambda: settle(asked(
        attached(available()), lambda v: v.extend(2)), FAILED), [NODE_1]),
    "deleting": (lambda: asked(
        exported(available()), lambda v: v.delete(force=True)), []),
    "error_deleting": (lambda: settle(asked(
        exported(available()), lambda v: v.delete(force=True)), FAILED), []),
    "deletion put off": (lambda: settle(asked(
        exported(available()), lambda v: v.delete(force=True)), BUSY), [NODE_1]),
    "deleted": (lambda: settle(asked(
        exported(available()), lambda v: v.delete(force=True))), []),
}
# fmt: on


@pytest.mark.parametrize("case", REACHED)
def test_a_volume_is_to_be_reached_by(case: str) -> None:
    begun, hosts = REACHED[case]

    assert begun().connectors == hosts


def test_a_host_that_has_changed_its_initiator_is_reached_by_both_names() -> None:
    renamed = NODE_1 | {"initiator": "iqn.2026-01.example:another"}

    volume = attached(attached(available()), B, renamed)

    assert volume.connectors == [NODE_1, renamed]


# What a host may do: what was promised to it, whatever it asks for


READS = NODE_1 | {"mode": "ro"}


def promised(mode: str, volume: Volume, held: UUID = A, to: Any = NODE_1) -> Volume:
    volume.hold(held, instance=f"web-{held.int}", mode=mode)
    volume.connect(held, to)
    return settle(volume)


def test_a_host_that_was_promised_to_read_may_read() -> None:
    assert promised("ro", available()).connectors == [READS]


def test_a_host_that_was_promised_to_write_may_write_though_it_asks_to_read() -> None:
    volume = promised("rw", available(), to=READS)

    assert volume.connectors == [NODE_1 | {"mode": "rw"}]


@pytest.mark.parametrize("modes", [("ro", "rw"), ("rw", "ro")])
def test_a_host_that_may_write_for_one_instance_may_write(
    modes: tuple[str, str],
) -> None:
    first, second = modes

    volume = promised(second, promised(first, available()), B)

    assert volume.connectors == [NODE_1]


def test_a_way_of_a_host_that_asks_to_read_is_to_read_it() -> None:
    volume = asked(available(), lambda v: v.export(READS))

    assert mode(volume) == "ro"
    assert settle(volume).connectors == [READS]


def test_a_host_that_asks_to_read_and_was_promised_nothing_may_read() -> None:
    volume = available()
    volume.connect(held := reserved(volume), READS)

    assert mode(volume) == volume.attachments[held].mode == "ro"


def reserved(volume: Volume) -> UUID:
    """Return a promise that says nothing of a mode."""
    volume.hold(A, instance="web-1")
    return A


def mode(volume: Volume) -> str:
    intent: Any = volume.in_flight[max(volume.in_flight)]
    asked: str = intent.mode
    return asked


def test_a_way_to_a_read_only_volume_is_to_read_it() -> None:
    volume = available()
    volume.update(readonly=True)

    assert exported(volume).connectors == [READS]


# The last way: `shared` keeps a backend from taking away what others need.


def shared(volume: Volume) -> bool:
    intent: Any = volume.in_flight[max(volume.in_flight)]
    told: bool = intent.shared
    return told


def test_of_two_instances_on_one_host_the_second_takes_the_way_along() -> None:
    volume = attached(attached(available()), B)

    volume.detach(A)
    first = shared(volume)
    settle(volume)
    volume.detach(B)

    assert (first, shared(volume)) == (True, False)


def test_of_two_that_are_detached_at_once_the_last_takes_the_way_along() -> None:
    volume = attached(attached(available()), B)

    volume.detach(A)
    volume.detach(B)

    assert [i.shared for i in volume.in_flight.values()] == [True, False]  # type: ignore[attr-defined]


def test_a_hold_and_a_way_that_go_at_once_leave_nothing() -> None:
    volume = exported(attached(available()))

    volume.detach(A)
    volume.unexport(NODE_1)

    assert [i.shared for i in volume.in_flight.values()] == [True, False]  # type: ignore[attr-defined]


def test_a_way_and_a_hold_that_go_at_once_leave_nothing() -> None:
    volume = exported(attached(available()))

    volume.unexport(NODE_1)
    volume.detach(A)

    assert [i.shared for i in volume.in_flight.values()] == [True, False]  # type: ignore[attr-defined]


def test_who_was_turned_away_keeps_no_way_open() -> None:
    volume = settle(connecting(attached(available()), B), FAILED)

    volume.detach(A)

    assert not shared(volume)


def test_a_hold_whose_host_is_let_in_already_is_let_in_by_the_same_way() -> None:
    volume = connecting(attached(available()), B)

    assert shared(volume)


def test_a_host_is_given_no_other_way_than_its_hold_has() -> None:
    volume = asked(attached(available()), lambda v: v.export(NODE_1))

    assert shared(volume)


def test_who_is_attached_and_reaches_it_by_no_way_yet_shares_none() -> None:
    volume = asked(available(), lambda v: v.attach(instance="web-1"))
    [held] = volume.attachments

    volume.connect(held, NODE_1)

    assert not shared(volume)


def test_a_look_for_one_hold_leaves_the_way_to_another_of_its_host() -> None:
    volume = attached(attached(available()), B)
    volume.begin_detaching(A)

    volume.look_for_session(A)

    assert shared(volume)


def test_a_host_may_be_called_none() -> None:
    called = {"host": "None"}
    volume = attached(attached(available(), to=called), B, called)

    volume.detach(A)

    assert shared(volume)


def test_who_has_no_way_shares_none_with_a_host_called_none() -> None:
    volume = attached(available(), to={"host": "None"})
    volume.reserve()

    volume.look_for_session([*volume.attachments][-1])

    assert not shared(volume)


def test_two_hosts_share_nothing() -> None:
    volume = attached(attached(available()), B, NODE_2)

    volume.detach(A)

    assert not shared(volume)


def test_a_way_stays_for_a_hold_whose_initiator_was_given_another_host() -> None:
    volume = attached(available())
    elsewhere = NODE_1 | {"host": "node-2"}
    volume.export(elsewhere)
    settle(volume)

    volume.unexport(elsewhere)

    assert shared(volume)


def test_a_way_stays_for_an_export_whose_initiator_was_given_another_host() -> None:
    volume = exported(attached(available(), to=NODE_1 | {"host": "node-2"}))

    volume.detach()

    assert shared(volume)


def test_a_way_stays_for_another_export_of_the_same_initiator() -> None:
    elsewhere = NODE_1 | {"host": "node-2"}
    volume = asked(exported(available()), lambda v: v.export(elsewhere))
    settle(volume)

    volume.unexport(elsewhere)
    first = shared(volume)
    volume.unexport(NODE_1)

    assert (first, shared(volume)) == (True, False)


def test_of_a_host_is_taken_what_it_was_given_whatever_its_initiator_is_now() -> None:
    volume = exported(available())

    volume.unexport(NODE_1 | {"initiator": NODE_2["initiator"]})

    [asked] = volume.in_flight.values()
    assert asked.connector == NODE_1  # type: ignore[attr-defined]


def test_a_way_that_is_still_being_given_is_taken_away_as_well() -> None:
    volume = asked(
        available(), lambda v: v.export(NODE_1), lambda v: v.unexport(NODE_1)
    )

    for version in sorted(volume.in_flight):
        volume.report(version, DONE)

    assert not volume.connections


@pytest.mark.parametrize("host", [NODE_1, None])
def test_a_way_that_was_not_told_of_ends_with_its_removal(host: Any) -> None:
    volume = asked(available(), lambda v: v.export(NODE_1), lambda v: v.unexport(host))

    volume.report(volume.version, DONE)

    assert (volume.in_flight, volume.connections) == ({}, {})


def test_a_way_that_could_not_be_taken_away_is_there() -> None:
    volume = settle(asked(exported(available()), lambda v: v.unexport(NODE_1)), FAILED)

    assert (volume.in_flight, volume.connectors) == ({}, [NODE_1])
    assert volume.error
    assert volume.error.code == FAILED.code


def test_a_way_stays_though_a_hold_of_its_host_is_still_being_let_in() -> None:
    volume = connecting(exported(available()))

    volume.detach(A)

    assert shared(volume)


def test_of_a_host_that_has_no_way_none_is_taken() -> None:
    volume = exported(available())
    version = volume.version

    volume.unexport(NODE_2)

    assert volume.version == version


@pytest.mark.parametrize(
    "begun",
    [
        lambda: asked(available(), lambda v: v.attach(instance="web-1")),
        lambda: connecting(available()),
        lambda: connected(available()),
        lambda: settle(asked(attached(available()), lambda v: v.detach()), FAILED),
    ],
    ids=["attached by no way", "being connected", "connected", "not taken off"],
)
def test_not_every_way_is_closed_to_a_volume_that_a_host_uses(
    begun: Callable[[], Volume],
) -> None:
    volume = begun()

    with pytest.raises(Refused, match="not unused"):
        volume.unexport()


def test_a_way_that_is_being_given_to_another_changes_nothing_for_a_host() -> None:
    volume = asked(exported(attached(available())), lambda v: v.export(NODE_2))

    volume.detach(A)

    assert shared(volume)


def test_a_way_that_is_given_again_or_to_another_goes_on_after_a_removal() -> None:
    volume = asked(exported(available()), lambda v: v.export(NODE_2))
    volume.unexport(NODE_1)
    removal = volume.version
    volume.export(NODE_1)

    volume.report(removal, DONE)
    for version in sorted(volume.in_flight):
        volume.report(version, DONE)

    assert volume.connections.keys() == {"node-1", "node-2"}


def test_a_way_that_is_given_while_it_is_taken_away_is_shared_with_nobody() -> None:
    volume = asked(exported(available()), lambda v: v.unexport(NODE_1))

    volume.export(NODE_1)

    assert not shared(volume)


def test_a_way_that_was_asked_for_twice_stays_though_the_second_attempt_fails() -> None:
    volume = asked(available(), lambda v: v.export(NODE_1))

    volume.export(NODE_1)

    assert shared(volume)


def test_who_lets_go_leaves_the_way_that_its_host_is_being_given() -> None:
    volume = asked(attached(available()), lambda v: v.export(NODE_1))

    volume.detach(A)

    assert shared(volume)


def test_who_is_attached_keeps_the_way_that_it_is_being_given() -> None:
    volume = asked(available(), lambda v: v.attach(instance="web-1"))
    [held] = volume.attachments
    volume.connect(held, NODE_1)

    volume.connect(held, NODE_1)

    assert shared(volume)


@pytest.mark.parametrize(
    ("second", "status", "hosts"),
    [(DONE, "attaching", [NODE_1]), (FAILED, "error_attaching", [])],
)
def test_the_last_attempt_decides_whether_a_host_is_turned_away(
    second: Done | NotDone, status: str, hosts: list[Any]
) -> None:
    volume = connecting(ordinary())
    first = volume.version
    volume.connect(A, NODE_1)

    volume.report(first, FAILED)
    settle(volume, second)

    assert (volume.attachments[A].status, volume.connectors) == (status, hosts)


def ordinary() -> Volume:
    return settle(Volume.create(uuid4(), size_gib=1, backend="lvm"))


def test_who_was_turned_away_is_in_nobodys_way() -> None:
    volume = settle(connecting(ordinary()), FAILED)

    connected(volume, B, NODE_2)

    assert volume.connectors == [NODE_2]


def turned_away() -> Volume:
    """Return one whose host was let in, and could not be let in once more."""
    return settle(connecting(connected(ordinary())), FAILED)


@pytest.mark.parametrize(
    ("result", "status"), [(DONE, None), (FAILED, AttachStatus.ERROR_ATTACHING)]
)
def test_who_was_turned_away_is_not_let_in_while_it_goes(
    result: Done | NotDone, status: AttachStatus | None
) -> None:
    volume = turned_away()

    volume.detach(A)
    meanwhile = volume.connectors, volume.status
    settle(volume, result)

    assert (volume.connectors, volume.status) == meanwhile == ([], Status.AVAILABLE)
    assert [a.status for a in volume.attachments.values()] == [*filter(None, [status])]


def test_letting_go_twice_of_who_was_turned_away_adds_nothing() -> None:
    volume = turned_away()
    volume.detach(A)
    version = volume.version

    volume.detach(A)

    assert volume.version == version


def test_every_way_is_closed_to_who_was_turned_away() -> None:
    volume = settle(connecting(ordinary()), FAILED)

    volume.unexport()

    assert [i.TOPIC for i in volume.in_flight.values()] == [
        "volume.export_removal_started"
    ]


def test_who_is_attached_keeps_its_way_though_it_could_not_be_given_once_more() -> None:
    volume = attached(available())

    volume.connect(A, NODE_1)

    assert shared(volume)


def test_who_is_not_attached_yet_is_turned_away_where_the_second_attempt_fails() -> (
    None
):
    volume = connected(available())

    volume.connect(A, NODE_1)

    assert not shared(volume)
