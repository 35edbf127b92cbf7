"""The Secrets that a fetch may use, each for the hosts that it names itself.

    <root>/<secret>/host                                        hosts, host or host:port
    <root>/<secret>/token                                       Bearer
    <root>/<secret>/{username,password}                         Basic
    <root>/<secret>/{accessKeyId,secretAccessKey[,sessionToken][,region]}   S3

Errors name the Secret and the key, never a value. Knows nothing of who asks.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sd_operator.fetch import errors
from sd_operator.fetch.errors import FetchError

_KEYS = (
    "host",
    "token",
    "username",
    "password",
    "accessKeyId",
    "secretAccessKey",
    "sessionToken",
    "region",
)
# The ways to authorize: the keys that must be there together, and those that may be.
_WAYS: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("token",): (),
    ("username", "password"): (),
    ("accessKeyId", "secretAccessKey"): ("sessionToken", "region"),
}
_PORTS = {"http": 80, "https": 443}
# A host without a port is the host at both of them.
_USUAL_PORTS = (80, 443)
# A Secret is at most 1 MiB; nothing that is meant here comes near this.
_VALUE_BYTES = 64 * 1024
# How often a Secret may be exchanged while it is read.
_READS = 10

_HOST = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9._-]*[a-z0-9])?)\.?(:(?P<port>\d{1,5}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """The values of one Secret."""

    secret: str  # its name
    places: frozenset[tuple[str, int]]  # hosts and ports that it is for
    values: Mapping[str, str] = field(repr=False)

    def header(self) -> str | None:
        """What goes into Authorization; None for keys that sign."""
        values = self.values
        if "token" in values:
            return f"Bearer {values['token']}"
        if "username" in values:
            pair = f"{values['username']}:{values['password']}".encode()
            return f"Basic {base64.b64encode(pair).decode()}"
        return None


class Credentials:
    """The folder with a folder per Secret. Read anew at each use: Secrets rotate under a running pod."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, scheme: str, host: str, port: int | None = None) -> Credential | None:
        """The credential for a host; FetchError for Secrets that cannot be used, also for other hosts."""
        place = (host.lower().rstrip("."), port if port is not None else _PORTS[scheme])
        return next((each for each in self.all() if place in each.places), None)

    def all(self) -> tuple[Credential, ...]:
        """Every Secret; FetchError when one is malformed, or two are for one host."""
        found = tuple(_parse(name, values) for name, values in _read(self._root))
        known: dict[tuple[str, int], str] = {}
        for each in found:
            for place in each.places:
                other = known.setdefault(place, each.secret)
                if other != each.secret:
                    raise _invalid(
                        f"Secrets {other} and {each.secret} both name the host {place[0]} in their key host; "
                        "let one of them name it"
                    )
        return found


def _read(root: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    try:
        names = sorted(each.name for each in root.iterdir() if each.is_dir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise _invalid(f"the Secrets of spec.credentialSecrets cannot be read: {error.strerror}") from error
    for name in names:
        if name.startswith("."):
            continue
        try:
            values = _values(root / name)
        except OSError as error:
            raise _invalid(f"Secret {name} cannot be read: {error.strerror}") from error
        yield name, values


def _values(folder: Path) -> Mapping[str, str]:
    """The values of one Secret, all of one version: the kubelet exchanges them by a link, `..data`."""
    for _ in range(_READS):
        version = folder.joinpath("..data").resolve()
        base = version if version.is_dir() else folder
        raw = {key: _content(base / key) for key in _KEYS}
        if folder.joinpath("..data").resolve() == version:
            return {
                key: _text(folder.name, key, content) for key, content in raw.items() if content is not None
            }
    raise FetchError(
        errors.CREDENTIAL_INVALID, f"Secret {folder.name} changed again and again while read", retryable=True
    )


def _content(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(_VALUE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _invalid(
            f"Secret {path.parent.name}: key {path.name} cannot be read: {error.strerror}"
        ) from error


def _text(secret: str, key: str, content: bytes) -> str:
    if len(content) > _VALUE_BYTES:
        raise _invalid(f"Secret {secret}: key {key} is longer than {_VALUE_BYTES} bytes")
    try:
        # Values come from files and editors, which end lines.
        text = content.decode().strip()
    except UnicodeDecodeError:
        # Without its cause, which quotes the value.
        raise _invalid(f"Secret {secret}: key {key} is no text; it may have been encoded twice") from None
    if not text:
        raise _invalid(f"Secret {secret}: key {key} is empty")
    return text


def _parse(name: str, values: Mapping[str, str]) -> Credential:
    if "host" not in values:
        raise _invalid(
            f"Secret {name} has no key host (or does not exist); it must name the hosts that it is for"
        )
    ways = [keys for keys in _WAYS if any(key in values for key in keys)]
    if len(ways) != 1:
        expected = ", or ".join(" and ".join(keys) for keys in _WAYS)
        what = "keys of several kinds" if ways else "no credentials"
        raise _invalid(f"Secret {name} holds {what}; beside host it must have {expected}")
    (way,) = ways
    for key in way:
        if key not in values:
            raise _invalid(f"Secret {name} has no key {key}; it must have {' and '.join(way)}")
    kept = {key: values[key] for key in (*way, *_WAYS[way]) if key in values}
    _check(name, kept)
    return Credential(secret=name, places=_places(name, values["host"]), values=kept)


def _check(name: str, values: Mapping[str, str]) -> None:
    for key, value in values.items():
        # A password may be in any script; everything else goes into a header or an address as it is.
        if not value.isprintable() or not (value.isascii() or key in ("username", "password")):
            raise _invalid(
                f"Secret {name}: key {key} holds characters that no {key} has, such as a line break"
            )
    if ":" in values.get("username", ""):
        raise _invalid(f"Secret {name}: key username must not hold a colon")
    if " " in values.get("token", ""):
        raise _invalid(f"Secret {name}: key token must be the token alone, without a word before it")


def _places(name: str, hosts: str) -> frozenset[tuple[str, int]]:
    places: set[tuple[str, int]] = set()
    for word in re.split(r"[\s,]+", hosts.strip(", \n\t")):
        found = _HOST.fullmatch(word.lower())
        port = int(found["port"]) if found is not None and found["port"] else None
        if found is None or (port is not None and not 0 < port < 65536):
            raise _invalid(
                f"Secret {name}: key host must hold hosts, each as host or host:port, separated by spaces, "
                "commas or lines; without a scheme, a path or a wildcard"
            )
        host = found["host"].strip("[]")
        places.update((host, each) for each in (_USUAL_PORTS if port is None else (port,)))
    return frozenset(places)


def _invalid(sentence: str) -> FetchError:
    return FetchError(errors.CREDENTIAL_INVALID, sentence)
