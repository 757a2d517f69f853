"""The service's own log on standard error: a line for each message."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from service.settings import Unusable

LEVEL = "HOLDFAST_LOG_LEVEL"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
# Libraries that tell of every lost connection with a stack.
TALKATIVE = ("nats", "asyncio", "psycopg", "opentelemetry", "urllib3")
# JSON is rendered in a tenth of the time, which counts with a line a request.
RENDERERS: dict[str, Any] = {
    "logfmt": structlog.processors.LogfmtRenderer(
        key_order=["timestamp", "level", "logger", "event"]
    ),
    "json": structlog.processors.JSONRenderer(
        lambda said, default: msgspec.json.encode(said, enc_hook=default).decode()
    ),
}


def set_up(form: str = "logfmt") -> None:
    """Send every logger's messages to standard error; raise `Unusable`."""
    level = os.environ.get(LEVEL, "WARNING").upper()
    if level not in LEVELS:
        raise Unusable(f"{LEVEL} must be one of {', '.join(LEVELS)}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(RENDERERS[form]))
    handler.addFilter(NoEcho())
    logging.basicConfig(level=level, handlers=[handler], force=True)


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


def formatter(render: Processor) -> logging.Formatter:
    """Return what makes one line of a message, its exception included."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            without_stack,
            structlog.processors.format_exc_info,
            render,
        ],
    )


def without_stack(_: Any, __: str, event: EventDict) -> EventDict:
    """Leave of a talkative library's exception what it says."""
    error = event.get("exc_info")
    if error and str(event["logger"]).startswith(TALKATIVE):
        cause = error[1] if isinstance(error, tuple) else error
        event["exc_info"] = None
        event["cause"] = " ".join(str(cause or "").split()) or type(cause).__name__
    return event
