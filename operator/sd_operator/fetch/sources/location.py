"""What every source comes down to: an address to GET, and words for it that may be shown and kept."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from sd_operator.fetch.errors import FetchError

# What an answer means, where the source knows better than HTTP; None leaves it to HTTP. It may read the
# beginning of the body of an answer that is no file.
Advice = Callable[[httpx.Response], FetchError | None]


def no_advice(_response: httpx.Response) -> FetchError | None:
    return None


@dataclass(frozen=True, slots=True)
class Companion:
    """A small file that goes beside the model: its name is the model's stem and this suffix."""

    suffix: str  # ".civitai.info", ".preview.jpeg"
    # The bytes, or the address of an extra whose absence fails nothing.
    content: bytes | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    url: str  # may hold a signature: never shown, never kept; empty when `local` is set
    # Names the source in the manifest, in messages and beside a partial download; never holds a credential.
    identity: str
    file_name: str  # what the source calls the file
    advice: Advice = no_advice
    # The answer's header that names the exact version a moving revision stood for.
    version_header: str | None = None
    version: str | None = None  # the same, where the source told it before the download
    # What the source says the file is; the bundle's own sha256 goes before it.
    sha256: str | None = None
    companions: tuple[Companion, ...] = ()
    local: Path | None = None  # a file of a mounted volume, instead of an address


def shown(url: str) -> str:
    """An address without its query, which may be a signature or a token. Two queries still look different."""
    parts = urlsplit(url)
    plain = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if not parts.query:
        return plain
    return f"{plain}#query-{hashlib.sha256(parts.query.encode()).hexdigest()[:12]}"


def recorded(identity: str, version: str | None) -> str:
    """The manifest's `source`: the identity, and the version it stood for when it was fetched."""
    return f"{identity} (version {version})" if version else identity


def is_recorded(identity: str, source: str) -> bool:
    """Whether a manifest's `source` was written for this identity."""
    return source == identity or source.startswith(f"{identity} (version ")
