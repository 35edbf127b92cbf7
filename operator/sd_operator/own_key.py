"""The operator's own key, from which the token of every pod's management port is derived.

In a cluster it is in a Secret of the operator's namespace, made by the operator that finds none; it is no
part of what is installed, so that installing again changes nothing. Outside of a cluster it is in a file.
What becomes of the key is not known here.
"""

import base64
import binascii
import logging
import secrets
import string
from pathlib import Path
from typing import Any, Protocol

from sd_operator import errors, names
from sd_operator.names import Resource
from sd_operator.settings import Settings

logger = logging.getLogger(__name__)

ENTRY = "key"
SHORTEST = 16
#: Of a key that is made here: letters and digits, so that people can copy it.
LENGTH = 48
ALPHABET = string.ascii_letters + string.digits


class Secrets(Protocol):
    """What is needed of a cluster."""

    async def get(self, resource: Resource, *, namespace: str, name: str) -> dict[str, Any] | None:
        """The object, or None when there is none."""

    async def create(self, resource: Resource, manifest: dict[str, Any]) -> dict[str, Any]:
        """Make it; a ConflictError when there is one of its name."""


def place(settings: Settings) -> str:
    """Where the key is, and which setting says so."""
    if settings.key_file is not None:
        return f"{settings.key_file} (SDO_KEY_FILE)"
    return f"Secret {settings.namespace}/{settings.key_secret} (SDO_KEY_SECRET)"


async def obtain(settings: Settings, api: Secrets) -> bytes:
    """The key; an OwnKeyError names where it should be and what is wrong there."""
    if settings.key_file is not None:
        return read(settings.key_file)
    where = place(settings)
    secret = await _get(settings, api, where) or await _make(settings, api, where)
    return _checked(where, _content(where, secret))


def read(path: Path) -> bytes:
    """The key in a file."""
    where = f"{path} (SDO_KEY_FILE)"
    try:
        return _checked(where, path.read_bytes())
    except OSError as error:
        raise errors.OwnKeyError(f"{where} cannot be read: {error.strerror}") from error


async def _get(settings: Settings, api: Secrets, where: str) -> dict[str, Any] | None:
    try:
        return await api.get(names.SECRET, namespace=settings.namespace, name=settings.key_secret)
    except errors.ClusterError as error:
        raise errors.OwnKeyError(f"{where} cannot be read: {error}") from error


async def _make(settings: Settings, api: Secrets, where: str) -> dict[str, Any]:
    try:
        made = await api.create(names.SECRET, _manifest(settings))
    except errors.ConflictError:
        # Another operator was faster, or our own request whose answer was lost.
        winner = await _get(settings, api, where)
        if winner is None:
            raise errors.OwnKeyError(f"{where} was deleted as soon as it was there") from None
        return winner
    except errors.ClusterError as error:
        raise errors.OwnKeyError(f"{where} does not exist and cannot be made: {error}") from error
    logger.info("made %s", where)
    return made


def _manifest(settings: Settings) -> dict[str, Any]:
    return {
        "apiVersion": names.SECRET.api_version,
        "kind": names.SECRET.kind,
        "metadata": {
            "name": settings.key_secret,
            "namespace": settings.namespace,
            # Not managed-by: that label is on what belongs to an object of ours.
            "labels": {names.LABEL_PART_OF: names.FIELD_MANAGER},
        },
        "type": "Opaque",
        # An operator that runs has read it once: another content would be noticed at some restart.
        "immutable": True,
        "stringData": {ENTRY: "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))},
    }


def _content(where: str, secret: dict[str, Any]) -> bytes:
    data = secret.get("data") or {}
    if ENTRY not in data:
        has = ", ".join(sorted(data)) or "none at all"
        raise errors.OwnKeyError(f"{where} has no entry {ENTRY!r}; its entries: {has}")
    try:
        return base64.b64decode(data[ENTRY], validate=True)
    except binascii.Error as error:
        raise errors.OwnKeyError(f"{where}: entry {ENTRY!r} is not base64") from error


def _checked(where: str, key: bytes) -> bytes:
    key = key.strip()
    if len(key) < SHORTEST:
        raise errors.OwnKeyError(f"{where} holds {len(key)} bytes; at least {SHORTEST} are needed")
    return key
