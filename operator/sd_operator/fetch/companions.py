"""The small files that some sources have for a model: its page as JSON, a picture. They lie beside it.

They are extras: whatever goes wrong with one is logged and costs only that one.
"""

import contextlib
import logging
import os
import re
import time
from dataclasses import dataclass
from pathlib import PurePosixPath

import httpx

from sd_modelfiles import manifest
from sd_operator.fetch import network, notes, partial
from sd_operator.fetch.errand import Errand
from sd_operator.fetch.errors import INTERRUPTED, FetchError
from sd_operator.fetch.sources import Companion, Location

_MAX_BYTES = 16 * 1024 * 1024
_SECONDS = 60.0
_SUFFIX = r"(\.[A-Za-z0-9]{1,20}){1,3}"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Brought:
    suffix: str
    content: bytes


def gather(errand: Errand, location: Location) -> list[Brought]:
    """The contents of a location's companions, of those that can be had."""
    found = []
    for companion in location.companions:
        if not re.fullmatch(_SUFFIX, companion.suffix):
            log.warning("a companion cannot be called %r", companion.suffix[:100])
            continue
        try:
            with errand.stop.interruptible():
                found.append(Brought(companion.suffix, _content(errand, companion, location)))
        except FetchError as failure:
            if failure.reason == INTERRUPTED:
                raise
            log.warning("the companion %s is left out: %s", companion.suffix, failure)
    return found


def write(errand: Errand, path: str, brought: list[Brought]) -> tuple[str, ...]:
    """Put them beside the file at the path; their paths. The caller holds the manifest's lock."""
    written = []
    for beside, each in places(errand, path, brought).items():
        temporary = partial.folder_of(errand.root) / f"{errand.key}.companion"
        try:
            notes.write(temporary, each.content, durably=False)
            temporary.replace(errand.root / beside)
        except OSError as error:
            log.warning("%s cannot be written: %s", beside, error)
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            continue
        written.append(beside)
    return tuple(written)


def places(errand: Errand, path: str, brought: list[Brought]) -> dict[str, Brought]:
    """Where each goes that is put beside the file: what others put there stays."""
    entry = manifest.load(errand.root).at(path)
    mine, found = entry.companions if entry is not None else (), {}
    for each in brought:
        beside = str(PurePosixPath(path).with_suffix(each.suffix))
        if beside in mine or not os.path.lexists(errand.root / beside):
            found[beside] = each
        else:
            log.warning("%s exists and is left as it is", beside)
    return found


def _content(errand: Errand, companion: Companion, location: Location) -> bytes:
    if isinstance(companion.content, bytes):
        return companion.content
    found, begun = bytearray(), time.monotonic()
    with (
        network.failing(location.identity),
        errand.client.stream("GET", companion.content) as response,
    ):
        if response.status_code != httpx.codes.OK:
            raise FetchError("", f"{location.identity} answered {response.status_code} for it")
        if response.headers.get("content-type", "").startswith("text/html"):
            raise FetchError("", f"{location.identity} answered with a web page for it")
        for chunk in response.iter_raw():
            found += chunk
            if len(found) > _MAX_BYTES or time.monotonic() - begun > _SECONDS:
                raise FetchError(
                    "", f"it has more than {_MAX_BYTES} bytes, or takes more than {_SECONDS:.0f} s"
                )
    return bytes(found)
