"""Logs as one JSON object a line on standard error."""

import json
import logging
import sys
from datetime import UTC, datetime


class JsonFormatter(logging.Formatter):
    """One record, one line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def configure() -> None:
    """Every logger's records from INFO up; those of libraries from WARNING."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("sd_plugin").setLevel(logging.INFO)


def message(line: str) -> str:
    """What a line of a log says to people: the message of one of ours, any other as it is."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return line
    return str(entry["message"]) if isinstance(entry, dict) and "message" in entry else line
