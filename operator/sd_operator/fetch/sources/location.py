"""What every source comes down to: an address to GET, and words for it that may be shown and kept."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    url: str
    # Names the source in the manifest, in messages and beside a partial download; never holds a credential.
    identity: str
    file_name: str  # what the source calls the file
    # What to do about an answer, by status, where the source knows better than HTTP.
    advice: Mapping[int, str] = field(default_factory=dict)
    # The answer's header that names the exact version a moving revision stood for.
    version_header: str | None = None


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
