"""Credentials before every route: HTTP Basic with one user's name and password, or a bearer token, each in a
mounted file.

The files are read again when they change, so a rotated Secret needs no restart. While they cannot be read
nothing is served: an instance that demands authentication is never open by accident.
"""

import base64
import binascii
import hashlib
import hmac
import logging
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from sd_runtime.guards.refusal import refusal

logger = logging.getLogger(__name__)

#: What `Auth` takes, in OpenAPI's words; either will do.
SCHEMES = {
    "basic": {"type": "http", "scheme": "basic"},
    "bearer": {"type": "http", "scheme": "bearer"},
}

_USERNAME = "username"
_PASSWORD = "password"
_TOKEN = "token"


class CredentialsError(Exception):
    """The files do not hold credentials; the message says which and why."""


class CredentialFiles:
    """The user name and password of a folder, and the token beside them if there is one, as digests; read
    anew when a file has changed. A token alone will do."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamp: object = None
        self._digests: tuple[bytes, ...] = ()

    def matches(self, given: bytes) -> bool:
        """Whether this is one of the credentials, with its scheme before it (`basic name:password`, `bearer
        token`); takes the same time for every wrong guess."""
        digest = hashlib.sha256(given).digest()
        return any(hmac.compare_digest(digest, each) for each in self._current())

    def complaint(self) -> str | None:
        """Why nobody can be admitted; None when the files hold credentials."""
        try:
            self._current()
        except CredentialsError as error:
            return str(error)
        return None

    def _current(self) -> tuple[bytes, ...]:
        try:
            names = self._names()
            stats = [(self._folder / name).stat() for name in names]
            stamp = [(stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in stats]
            if stamp != self._stamp:
                self._digests = self._read_all(names)
                self._stamp = stamp
        except OSError as error:
            self._stamp = None
            raise CredentialsError(f"{error.filename} cannot be read: {error.strerror}") from error
        return self._digests

    def _names(self) -> tuple[str, ...]:
        """The files to read. Name and password belong together: one of them alone is a mistake to tell of."""
        pair, token = (_USERNAME, _PASSWORD), (_TOKEN,)
        if not (self._folder / _TOKEN).exists():
            return pair
        return pair + token if any((self._folder / name).exists() for name in pair) else token

    def _read_all(self, names: tuple[str, ...]) -> tuple[bytes, ...]:
        digests = []
        if _USERNAME in names:
            pair = self._read(_USERNAME) + b":" + self._read(_PASSWORD)
            digests.append(hashlib.sha256(b"basic " + pair).digest())
        if _TOKEN in names:
            digests.append(hashlib.sha256(b"bearer " + self._read(_TOKEN)).digest())
        return tuple(digests)

    def _read(self, name: str) -> bytes:
        # An editor's newline at the end is not part of a password.
        value = (self._folder / name).read_bytes().rstrip(b"\r\n")
        if not value:
            raise CredentialsError(f"{self._folder / name} is empty")
        if name == _USERNAME and b":" in value:
            raise CredentialsError(f"{self._folder / name} holds a colon, which HTTP Basic cannot carry")
        return value


class Auth:
    """ASGI middleware: 401 without the right credentials, 503 while there are none to compare with."""

    def __init__(self, app: ASGIApp, *, credentials: CredentialFiles) -> None:
        self._app = app
        self._credentials = credentials

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            admitted = self._credentials.matches(_given(Headers(scope=scope).get("authorization", "")))
        except CredentialsError as error:
            logger.error("no request is served: %s", error)
            sentence = "this instance requires authentication, but its credentials are not there; see its log"
            await refusal(503, "CredentialsMissing", sentence, {"Retry-After": "10"})(scope, receive, send)
            return
        if admitted:
            await self._app(scope, receive, send)
            return
        headers = {"WWW-Authenticate": 'Basic realm="sd", charset="UTF-8"'}
        await refusal(401, "Unauthorized", "a user name and password, or a token, are needed", headers)(
            scope, receive, send
        )


def _given(header: str) -> bytes:
    """Scheme and credentials of an Authorization header, as `CredentialFiles` compares them; b"" when it is
    neither HTTP Basic nor a bearer token."""
    scheme, _, value = header.partition(" ")
    match scheme.lower():
        case "basic":
            try:
                return b"basic " + base64.b64decode(value.strip(), validate=True)
            except (binascii.Error, ValueError):
                return b""
        case "bearer":
            return b"bearer " + value.strip().encode("latin-1", "replace")
        case _:
            return b""
