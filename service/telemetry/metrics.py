"""What Prometheus is told: every metric there is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    ProcessCollector,
)
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from adapters.jetstream.agent import Agent
from adapters.jetstream.stream import PUBLISHED
from domain.drift import Drift
from domain.pool import percents

if TYPE_CHECKING:  # an agent has no database
    from service.deciding.command import Command
    from service.deciding.room import Room
    from service.replica import Replica

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

# Seconds and numbers that tell a good day from a bad one.
ANSWERS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
COMMITS = (0.0005, *ANSWERS[:11])
WORK = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300, 900)
BATCHES = tuple(2**n for n in range(10))

# fmt: off
COMMANDS = Histogram("holdfast_command_seconds",
    "From a request's arrival to its answer; `waited` where the caller asked to wait.",
    ["subject", "waited"], registry=REGISTRY, buckets=ANSWERS)
REFUSALS = Counter("holdfast_refusals",
    "Requests answered with a problem, by its type.",
    ["subject", "type"], registry=REGISTRY)
BATCH = Histogram("holdfast_batch_commands",
    "Commands stored in one transaction.", registry=REGISTRY, buckets=BATCHES)
COMMIT = Histogram("holdfast_commit_seconds",
    "From handing a batch to the writer to its commit.",
    registry=REGISTRY, buckets=COMMITS)
OPERATIONS = Histogram("holdfast_agent_operation_seconds",
    "What a driver took for one piece of work.",
    ["backend", "operation", "outcome"], registry=REGISTRY, buckets=WORK)

WAITING = ("holdfast_commands_waiting",
    "Commands that are not answered yet.")
LIVE = ("holdfast_live_aggregates",
    "Aggregates and parts of them in memory.")
BACKEND_UP = ("holdfast_backend_up",
    "1 if the backend's agent reports and its storage works.")
POOL = ("holdfast_pool_percent",
    "How full each part of a backend's thin pool is.")
DRIFT = ("holdfast_drift_findings",
    "Where a backend's storage is otherwise than the log says, by its last survey.")
SURVEY_AGE = ("holdfast_drift_survey_age_seconds",
    "Since a backend's storage was last compared with the log.")
WORD_AGE = ("holdfast_keeper_word_age_seconds",
    "Since a keeper last told this replica how far it is.")
LAG = ("holdfast_projection_lag_seconds",
    "How old the oldest event is that the read model has not read.")
BEHIND = ("holdfast_projection_behind_events",
    "Events that the read model has not read.")
PUBLISHER_LAG = ("holdfast_publisher_lag_seconds",
    "How old the oldest event is that is not in the stream.")
PUBLISHER_BEHIND = ("holdfast_publisher_behind_events",
    "Events that are not in the stream.")
SIGNED = ("holdfast_checkpoint_position",
    "The position in the log up to which it is signed.")
UNSIGNED = ("holdfast_log_contradicted",
    "1 if the log is not what was signed before, or cannot be signed.")
OLDEST = ("holdfast_transitional_oldest_seconds",
    "How long the oldest has been in a transitional status, or waits for a backend.")
# fmt: on

Said = tuple[str, str]


def stored(batch: list[Command], seconds: float) -> None:
    """Note a batch that was committed."""
    BATCH.observe(len(batch))
    COMMIT.observe(seconds)


@contextmanager
def collected(of: Callable[[], Iterable[Metric]]) -> Iterator[None]:
    """Tell, until left, what a function finds whenever Prometheus asks."""
    collector = Asked(of)
    REGISTRY.register(collector)
    try:
        yield
    finally:
        REGISTRY.unregister(collector)


class Asked(Collector):
    """What is looked up when it is asked for, and kept nowhere."""

    def __init__(self, of: Callable[[], Iterable[Metric]]) -> None:
        self._of = of

    def collect(self) -> Iterable[Metric]:
        """Look it up."""
        return self._of()

    def describe(self) -> list[Metric]:
        """Name nothing: what is there differs from time to time."""
        return []


def of_replica(running: Replica) -> Iterator[Metric]:
    """Yield how a replica is, and what the keeper told it."""
    log, room, word = running.log, running.log.room, running.reading.word
    yield gauge(WAITING, log.unanswered)
    yield gauge(LIVE, log.live)
    working = {n: float(room.why_not_working(n) is None) for n in list(room.measured)}
    yield gauges(BACKEND_UP, "backend", working)
    yield of_pools(room)
    yield from of_surveys(room)
    if word is None:
        return
    yield gauge(WORD_AGE, time.monotonic() - running.reading.heard)
    yield gauges(LAG, "model", others(word.lags))
    yield gauges(BEHIND, "model", others(word.behind))
    yield gauges(OLDEST, "status", word.oldest)
    if running.settings.checkpoint_key:
        yield gauge(SIGNED, word.signed)
        yield gauge(UNSIGNED, float(bool(word.unsigned)))
    if PUBLISHED in word.lags:
        yield gauge(PUBLISHER_LAG, word.lags[PUBLISHED])
    if PUBLISHED in word.behind:
        yield gauge(PUBLISHER_BEHIND, word.behind[PUBLISHED])


def of_pools(room: Room) -> Metric:
    """Return how full thin pools are."""
    family = GaugeMetricFamily(*POOL, labels=["backend", "part"])
    for name, known in list(room.measured.items()):
        for part, percent in percents(known.capabilities).items():
            family.add_metric([name, part], percent)
    return family


def of_surveys(room: Room) -> Iterator[Metric]:
    """Yield what differs of each backend, and how long ago that was seen."""
    family, ages = GaugeMetricFamily(*DRIFT, labels=["backend", "drift"]), {}
    for name, known in list(room.measured.items()):
        if told := known.surveyed.at:
            ages[name] = time.time() - told.timestamp()
            for drift in Drift:
                number = known.surveyed.findings.get(drift, 0)
                family.add_metric([name, drift], number)
    yield family
    yield gauges(SURVEY_AGE, "backend", ages)


def of_agent(agent: Agent) -> Iterator[Metric]:
    """Yield how an agent is."""
    yield gauges(BACKEND_UP, "backend", {agent.name: float(agent.failure is None)})


def others(told: Mapping[str, float]) -> dict[str, float]:
    """Return what is told of the read models themselves."""
    return {model: value for model, value in told.items() if model != PUBLISHED}


def gauge(said: Said, value: float) -> Metric:
    return GaugeMetricFamily(*said, value=value)


def gauges(said: Said, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(*said, labels=[label])
    for name, value in values.items():
        family.add_metric([name], value)
    return family
