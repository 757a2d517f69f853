"""Sentences about running the service: watching, killing and starting it again."""

from __future__ import annotations

import tomllib
from typing import Any

from pytest_bdd import given, then, when

from features.steps.sentences import says
from features.steps.volumes import available, is_in_status
from features.steps.world import World
from service.telemetry.testing import free_address, page


@given("a service that can be killed")
def mortal(world: World) -> None:
    world.use("mortal")


@when("the service is killed and started again")
@given("the service was killed and started again")
def kill_and_start(world: World) -> None:
    world.service.kill()
    world.service.start()


@given(says('the service was started while backend "{backend:Name}" was out of order'))
def started_out_of_order(world: World, backend: str) -> None:
    world.steer(backend, "fail", "set_up")
    kill_and_start(world)
    assert not world.works(backend)


@when(says('the service is killed, backend "{backend:Name}" mended, and started again'))
def kill_mend_and_start(world: World, backend: str) -> None:
    world.service.kill()
    world.calm(backend)
    world.service.start()


@when("the service is stopped and started again")
def stop_and_start(world: World) -> None:
    world.service.interrupt()
    world.service.start()


@given(says("{count:d} volumes were just asked for"))
def many_asked_for(world: World, count: int) -> None:
    for number in range(count):
        name = f"volume {number}"
        described = {"name": name, "size_gib": 1, "backend": "files"}
        world.volumes[name] = world.do("volume.create", **described)["id"]


@then("every volume is available and has its storage")
def all_available(world: World) -> None:
    for name in world.volumes:
        is_in_status(world, name, "available")
        assert world.storage(name).exists()


@given(says("{count:d} available volumes"))
def many_available(world: World, count: int) -> None:
    for number in range(count):
        available(world, f"volume {number}")


@then("the service answers a ping under its name")
def answers_ping(world: World) -> None:
    told = world.service.ping()
    assert told["name"] == "holdfast"
    assert told["type"] == "io.nats.micro.v1.ping_response"


@given("a service that is watched")
def watched(world: World) -> None:
    world.use("watched", f'metrics_listen = "{free_address()}"\n')


@then("the service is alive and ready")
def alive_and_ready(world: World) -> None:
    assert [told(world, path)[0] for path in ("/live", "/ready")] == [200, 200]


@then(says('a "{work:Name}" of backend "{backend:Name}" is counted as "{end:Name}"'))
def work_is_counted(world: World, work: str, backend: str, end: str) -> None:
    labels = f'backend="{backend}",operation="{work}",outcome="{end}"'
    is_counted(world, f"holdfast_agent_operation_seconds_count{{{labels}}}")


@then(says('a "{subject:Name}" is counted as "{problem:Name}"'))
def refusal_is_counted(world: World, subject: str, problem: str) -> None:
    labels = f'subject="{subject}",type="{problem}"'
    is_counted(world, f"holdfast_refusals_total{{{labels}}}")


def is_counted(world: World, sample: str) -> None:
    counts = dict(
        line.rpartition(" ")[::2] for line in told(world, "/metrics")[1].splitlines()
    )
    assert float(counts.get(sample, 0)) >= 1


def told(world: World, path: str) -> tuple[int, str]:
    """Return what the service tells those who watch it."""
    config = (world.service.folder / "holdfast.toml").read_text()
    return page(tomllib.loads(config)["metrics_listen"], path)


@when(says('the read model "{name:Name}" is rebuilt'))
def rebuild(world: World, name: str) -> None:
    world.ask("projection.rebuild", name=name)


@given(says('the read model "{name:Name}" was rebuilt'))
def rebuilt(world: World, name: str) -> None:
    generation = world.do("projection.rebuild", name=name)["generation"]
    world.soon(lambda: read_model(world, name)["generation"], generation)


@when("the read models are listed")
def list_read_models(world: World) -> None:
    world.ask("projection.list")


@then(says('"{names:Name}" follow the log, and none failed'))
def follow(world: World, names: str) -> None:
    items = world.answer["items"]
    assert [item["name"] for item in items] == names.split(", ")
    assert {(item["status"], item["error"]) for item in items} == {("following", None)}


def read_model(world: World, name: str) -> dict[str, Any]:
    items: list[dict[str, Any]] = world.do("projection.list")["items"]
    return next(item for item in items if item["name"] == name)
