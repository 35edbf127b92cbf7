"""A1111's styles: texts to put around prompts, from files of comma-separated values. Pure text.

The files are read again when they changed. One that cannot be read is left out and told in the log: a request
that names one of its styles is refused.
"""

import csv
import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sd_runtime.errors import UnsupportedError

logger = logging.getLogger(__name__)

#: What A1111's tools send for no style.
NONE = "None"
PLACEHOLDER = "{prompt}"


@dataclass(frozen=True, slots=True)
class Style:
    """A row: texts that are appended, or hold `{prompt}` where the prompt goes."""

    name: str
    prompt: str
    negative_prompt: str


_Version = tuple[int, int, int, int] | None  # device, inode, size, time of change; None: no file


class Styles:
    """The styles of all files; of two with one name the last counts."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = tuple(paths)
        self._lock = threading.Lock()
        self._read: dict[Path, tuple[_Version, list[Style]]] = {}

    def all(self) -> tuple[Style, ...]:
        """As the files are now."""
        return tuple(self._by_name().values())

    def apply(self, prompt: str, negative_prompt: str, names: Sequence[str]) -> tuple[str, str]:
        """Both prompts with the styles, one after the other; raises `UnsupportedError` for an unknown one."""
        known = self._by_name() if names else {}
        for name in names:
            if name == NONE:
                continue
            if name not in known:
                raise UnsupportedError("styles", name, sorted(known) or "none, as there are none")
            prompt = _merge(known[name].prompt, prompt)
            negative_prompt = _merge(known[name].negative_prompt, negative_prompt)
        return prompt, negative_prompt

    def _by_name(self) -> dict[str, Style]:
        with self._lock:
            return {style.name: style for path in self._paths for style in self._look(path)}

    def _look(self, path: Path) -> list[Style]:
        version = _version(path)
        known = self._read.get(path)
        if known is None or known[0] != version:
            known = self._read[path] = version, [] if version is None else _parse(path)
        return known[1]


def _merge(style: str, prompt: str) -> str:
    if PLACEHOLDER in style:
        return style.replace(PLACEHOLDER, prompt)
    return ", ".join(part for part in (prompt.strip(), style.strip()) if part)


def _version(path: Path) -> _Version:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _parse(path: Path) -> list[Style]:
    try:
        # Spreadsheets begin the file with a mark of its encoding.
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeError, csv.Error) as error:
        logger.warning("styles of %s are left out: %s", path, error)
        return []
    # A1111 called the prompt "text" once.
    return [
        Style(row["name"], row.get("prompt") or row.get("text") or "", row.get("negative_prompt") or "")
        for row in rows
        if row.get("name")
    ]
