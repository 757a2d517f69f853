"""The service's own log on standard error: a line for each message."""

from __future__ import annotations

import logging
import os
import sys
from functools import cached_property

from service.settings import Unusable

LEVEL = "HOLDFAST_LOG_LEVEL"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
# Libraries that tell of every lost connection with a stack.
TALKATIVE = ("nats", "asyncio", "psycopg", "opentelemetry", "urllib3")


def set_up(form: str = "logfmt") -> None:
    """Send every logger's messages to standard error; raise `Unusable`."""
    level = os.environ.get(LEVEL, "WARNING").upper()
    if level not in LEVELS:
        raise Unusable(f"{LEVEL} must be one of {', '.join(LEVELS)}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Late(form))
    handler.addFilter(NoEcho())
    logging.basicConfig(level=level, handlers=[handler], force=True)


class Late(logging.Formatter):
    """Makes a line as `service.rendering` does, which takes a while to be imported.

    An agent that begins has work to do before there is anything to say.
    """

    def __init__(self, form: str) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return self._lines.format(record)

    @cached_property
    def _lines(self) -> logging.Formatter:
        from service.rendering import formatter  # noqa: PLC0415 - see above

        return formatter(self._form, TALKATIVE)


class NoEcho(logging.Filter):
    """Lets a talkative library say the same thing only once in a row."""

    def __init__(self) -> None:
        super().__init__()
        self._last = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is news."""
        error = record.exc_info[1] if record.exc_info else ""
        said = f"{record.name} {record.getMessage()} {error}"
        news = said != self._last
        self._last = said
        return news or not record.name.startswith(TALKATIVE)
