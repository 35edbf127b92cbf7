"""JSON logs, one object a line; the object being reconciled is on each of them.

Knows nothing of what is logged. `bound` sets the object for everything logged inside the block.
"""

import contextlib
import contextvars
import datetime
import json
import logging
import sys
from collections.abc import Iterator
from typing import TextIO

from sd_operator.names import Key

_object: contextvars.ContextVar[Key | None] = contextvars.ContextVar("object", default=None)


class JsonFormatter(logging.Formatter):
    """Time, level, logger, message, object, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        line: dict[str, str] = {
            "time": datetime.datetime.fromtimestamp(record.created, tz=datetime.UTC).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        key = _object.get()
        if key is not None:
            line.update(kind=key.kind, namespace=key.namespace, name=key.name)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(level: str, *, stream: TextIO | None = None) -> None:
    """Send everything to one JSON stream (stderr)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Kopf logs a line for every event it hands over: a good part of the CPU at scale, and our own
    # reconciles say more.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


@contextlib.contextmanager
def bound(key: Key) -> Iterator[None]:
    """Name the object on every line logged inside the block."""
    token = _object.set(key)
    try:
        yield
    finally:
        _object.reset(token)
