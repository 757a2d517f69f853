"""What the service costs, beside an echo of nats-py in the same run.

    python -m bench [quick]

prints a table and writes `bench/results.json`, a name and a number each.
"""

from __future__ import annotations

from rich.console import Console

from bench import accept, lag, overload, past, replay, start
from bench.bed import bed
from bench.telling import is_quick, tell

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
    "history_ms_10k": "20 at most",
    "state_at_ms": "50 at most",
    "state_at_time_ms": "50 at most",
    "accepted_ratio_1m_events": "0.90",
    "start_seconds_1m_events": "3 at most",
    "memory_mb_1m_events": "",
}


def main(*, quick: bool) -> None:
    """Measure everything, tell it, and keep it."""
    console = Console()
    with console.status("starting the servers") as status, bed() as on:
        figures = (
            figure
            for part in (accept, overload, lag, start, replay, past)
            for figure in part.measured(on, status.update, quick=quick)
        )
        tell(console, figures, FLOORS, "results.json")


if __name__ == "__main__":
    main(quick=is_quick(__doc__))
