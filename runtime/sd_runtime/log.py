"""Logs as one JSON object a line on standard error, for the process and the libraries in it; for a person at
a terminal as a plain line.

`extra={...}` of a log call becomes fields of the object. Knows nothing of what is logged.
"""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import TextIO

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
#: What every LogRecord has; anything else on one came in through `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """One record, one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)


class PlainFormatter(logging.Formatter):
    """One record, one line for people; the fields of `extra` behind it."""

    def format(self, record: logging.LogRecord) -> str:
        told = [f"{key}={value}" for key, value in vars(record).items() if key not in _STANDARD and value]
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        line = f"{time} {level}{record.getMessage()}" + (f" ({', '.join(told)})" if told else "")
        # What clients chose to call things must not pass for a line of its own, nor move the cursor.
        line = _CONTROLS.sub(lambda found: repr(found[0])[1:-1], line)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure(level: str, stream: TextIO | None = None, *, plain: bool = False) -> None:
    """Sends every logger's records, from `level` up, to the stream (standard error): as JSON, or `plain`."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(PlainFormatter() if plain else JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
