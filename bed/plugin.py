"""Tests that are marked `lvm` run in a guest, one for all of a module's.

    pytestmark = pytest.mark.lvm(lio=True)    # arguments: bed.guest.Needs

They are collected, selected and reported here, under their own names; in between, a
pytest in the guest runs them. Where no guest runs they are skipped, and the end of the
report says so. `lvm(outside=True)` marks a test that starts guests by itself.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from subprocess import PIPE, STDOUT

import pytest

from bed.guest import Guest, Needs
from bed.machine import CannotRun
from bed.run import Run, made

IN_GUEST = Path("/run/bed/command").exists()
NOT_RUN = "Skipped: no guest runs here: "
START_SECONDS = 60

NODE_ID = pytest.StashKey[str]()  # without what xdist adds
RUN = pytest.StashKey[Run | None]()  # None: outside


@cache
def hindrance() -> str | None:
    """Return why no guest runs here; None if one does."""
    try:
        with Guest(["true"], stdout=PIPE, stderr=STDOUT) as guest:
            if guest.wait(START_SECONDS) == 0:
                return None
            said = f"{guest.stdout.read().decode(errors='replace')}{guest.last_words}"
            return f"its kernel does not start: {said}"
    except (CannotRun, OSError) as reason:
        return str(reason)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "lvm: runs in a guest with real LVM")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a module's tests together, for they share a guest."""
    for item in items:
        if item.get_closest_marker("lvm") and not IN_GUEST:
            item.stash[NODE_ID] = item.nodeid
            module = item.nodeid.partition("::")[0]
            item.add_marker(pytest.mark.xdist_group(f"lvm {module}"))
    # A guest ends when the next test is another's.
    items.sort(key=lambda item: NODE_ID in item.stash)


def pytest_collection_finish(session: pytest.Session) -> None:
    """See which of the tests that were selected share a guest."""
    runs: dict[tuple[str, Needs], Run] = {}
    for item in session.items:
        if NODE_ID not in item.stash:
            continue
        marker = item.get_closest_marker("lvm")
        assert marker
        if marker.kwargs == {"outside": True}:
            item.stash[RUN] = None
            continue
        needs = Needs(**marker.kwargs)
        node_id = item.stash[NODE_ID]
        new = Run(needs, session.config)
        run = runs.setdefault((node_id.partition("::")[0], needs), new)
        run.left[node_id] = item
        item.stash[RUN] = run


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> bool | None:
    """Have the guest run it, and report as if it had been run here."""
    if RUN not in item.stash:
        return None
    run = item.stash[RUN]
    if reason := hindrance():
        reports = iter([made(item, "skipped", f"{NOT_RUN}{reason}", "setup")])
    elif run:
        reports = run.reports(item.stash[NODE_ID])
    else:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    # What the test before this one has left for a neighbour that was never set up.
    item.session._setupstate.teardown_exact(nextitem)
    if run and (nextitem is None or nextitem.stash.get(RUN, None) is not run):
        run.end()
    return True


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End what an interruption has left."""
    for item in getattr(session, "items", ()):
        if run := item.stash.get(RUN, None):
            run.end()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say aloud what was not run."""
    reasons = Counter(
        report.longrepr[2].removeprefix(NOT_RUN)
        for report in terminalreporter.stats.get("skipped", [])
        if NOT_RUN in report.longrepr[2]
    )
    for reason, count in reasons.items():
        loudly = f"{count} TESTS OF LVM WERE NOT RUN, FOR NO GUEST RUNS HERE: {reason}"
        terminalreporter.write_line(loudly, red=True, bold=True)
