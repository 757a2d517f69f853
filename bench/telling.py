"""Telling what was measured: as it comes, in a table, and in a file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent


def is_quick(of: str | None) -> bool:
    """Return whether a quick run is asked for; end where it is anything else."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=of, formatter_class=form)
    parser.add_argument("how", nargs="?", choices=["quick"])
    return bool(parser.parse_args().how)


def tell(
    console: Console,
    figures: Iterable[tuple[str, float]],
    floors: Mapping[str, str],
    results: str,
) -> None:
    """Tell each figure, keep all in a file here, and show what each should reach."""
    found: dict[str, float] = {}
    for name, figure in figures:
        found[name] = round(figure, 4)
        console.log(f"{name} {figure:,.4g}")
    (HERE / results).write_text(json.dumps(found, indent=2) + "\n")
    console.print(table(found, floors))


def table(found: Mapping[str, float], floors: Mapping[str, str]) -> Any:
    """Return the ratios and what they should reach, the raw figures left out."""
    made = Table("", "here", "floor", box=None)
    for name, floor in floors.items():
        if name in found:
            made.add_row(name, f"{found[name]:.3f}", floor)
    return made
