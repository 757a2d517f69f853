"""Programs, each a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from adapters.embedded.postgres import settings_of

BACKEND = "files"
ROOT = Path(__file__).parents[2]

UP = """
import sys
from pathlib import Path
from service.up import run_up
from service.settings import load
tell = lambda url: print(url, flush=True)
run_up(Path(sys.argv[1]), load(None, {}), int(sys.argv[2]), tell)
"""

SERVE = """
import sys
from pathlib import Path
from service.serve import run_serve
from service.settings import load
run_serve(load(Path(sys.argv[1]), {}), lambda url: print(url, flush=True))
"""

AGENT = """
import sys
from pathlib import Path
from service.agents import run_agent
from service.settings import load
run_agent(load(Path(sys.argv[1]), {}), None, lambda url: print(url, flush=True))
"""


@contextmanager
def program(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run Python code that says a line when it is ready; it is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        assert process.stdout.readline(), "it ended before it was ready"
        yield process
    finally:
        process.kill()
        process.communicate()


def configuration(
    folder: Path,
    nats_url: str,
    database: Mapping[str, str],
    driver: str = "adapters.file.driver.FileDriver",
    ratio: float = 20.0,
    backend: str = "",
    **deadlines: float,
) -> Path:
    """Write the settings of `serve` and `agent`, with that backend or one of files."""
    told = {
        name: database.get(f"POSTGRES_{name.upper()}", "public")
        for name in ("dbname", "host", "user", "password", "schema")
    }
    lines = [
        f"nats_url = {json.dumps(nats_url)}",
        'agent_key = "0123456789abcdef0123456789abcdef"',
        "[database]",
        *(f"{name} = {json.dumps(value)}" for name, value in told.items()),
        f"port = {database['POSTGRES_PORT']}",
        "[deadlines]",
        *(f"{name} = {value}" for name, value in deadlines.items()),
        backend
        or f"""
[[backend]]
name = "{BACKEND}"
volume_driver = "{driver}"
max_over_subscription_ratio = {ratio}
folder = {json.dumps(str(folder / "volumes"))}
""",
    ]
    path = folder / "holdfast.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def database_of(data: Path) -> dict[str, str]:
    """Return the way to the database of an `up` that runs."""
    return settings_of(data / "postgres")
