"""What the service costs, beside an echo of nats-py in the same run.

    python -m bench [quick]

prints a table and writes `bench/results.json`, a name and a number each.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import accept, lag, overload, replay, start
from bench.bed import bed

RESULTS = Path(__file__).with_name("results.json")


def main(*, quick: bool) -> None:
    """Measure everything, tell it, and keep it."""
    found: dict[str, float] = {}
    console = Console()
    with console.status("starting the servers") as status, bed() as on:
        for part in (accept, overload, lag, start, replay):
            for name, figure in part.measured(on, status.update, quick=quick):
                found[name] = round(figure, 4)
                console.log(f"{name} {figure:,.4g}")
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    console.print(table(found))


def table(found: dict[str, float]) -> Any:
    """Return the ratios and what they should reach, the raw figures left out."""
    made = Table("", "here", "floor", box=None)
    for name, floor in FLOORS.items():
        if name in found:
            made.add_row(name, f"{found[name]:.3f}", floor)
    return made


FLOORS = {
    "accepted_ratio_1": "0.20",
    "accepted_ratio_32": "",
    "accepted_ratio_256": "0.15",
    "available_ratio_256": "0.03",
    "available_in_memory_ratio_256": "0.03",
    "lag_p99_ms": "100 at most",
    "overload_ratio_10": "0.80",
    "overload_ratio_100": "",
    "replay_ratio": "0.20",
    "accepted_ratio_1m_events": "0.90",
    "start_seconds_1m_events": "3 at most",
    "memory_mb_1m_events": "",
}

if __name__ == "__main__":
    main(quick="quick" in sys.argv[1:])
