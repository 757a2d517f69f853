"""How a line of the log looks, for people or for machines; structlog makes it."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import msgspec
import structlog
from structlog.typing import EventDict

from service.messages.text import said_by

# JSON is rendered in a tenth of the time, which counts with a line a request.
RENDERERS: dict[str, Any] = {
    "logfmt": structlog.processors.LogfmtRenderer(
        key_order=["timestamp", "level", "logger", "event"]
    ),
    "json": structlog.processors.JSONRenderer(
        lambda said, default: msgspec.json.encode(said, enc_hook=default).decode()
    ),
}


def formatter(form: str, talkative: tuple[str, ...]) -> logging.Formatter:
    """Return what makes one line of a message, its exception included.

    Of a `talkative` library's exception that is what it says, without its stack.
    """
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            partial(without_stack, talkative),
            structlog.processors.format_exc_info,
            RENDERERS[form],
        ],
    )


def without_stack(
    talkative: tuple[str, ...], _: Any, __: str, event: EventDict
) -> EventDict:
    """Leave of a talkative library's exception what it says."""
    error = event.get("exc_info")
    if error and str(event["logger"]).startswith(talkative):
        cause = error[1] if isinstance(error, tuple) else error
        event["exc_info"] = None
        event["cause"] = said_by(cause)
    return event
