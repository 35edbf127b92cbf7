"""The only module that speaks to fetch pods: asks how far they are.

A pod that does not answer costs nothing but a number in the status. The token is derived from the operator's
key and the bundle's uid; the pod's environment has only its digest.
"""

import hashlib
import hmac
import json
import logging
from typing import Annotated, Protocol

import aiohttp
from pydantic import Field, ValidationError

from sd_operator.api.base import Model
from sd_operator.names import MANAGEMENT_PORT

TIMEOUT = aiohttp.ClientTimeout(total=2, sock_connect=1)
MAX_ANSWER = 16 * 1024

logger = logging.getLogger(__name__)


class Progress(Model):
    """The answer of /v1/progress."""

    bytes: Annotated[int, Field(ge=0)]
    total_bytes: Annotated[int | None, Field(ge=0)] = None
    bytes_per_second: Annotated[float, Field(ge=0)] = 0.0
    phase: str = ""


class FetchPods(Protocol):
    """What reconciles need of fetch pods; a fake in the tests has the same."""

    def token_sha256(self, uid: str) -> str:
        """What a fetch pod of the bundle with this uid may know of its token."""

    async def progress(self, *, pod_ip: str, uid: str) -> Progress | None:
        """How far that pod is; None when it does not say."""


class FetchClient:
    """`FetchPods` over HTTP."""

    def __init__(self, session: aiohttp.ClientSession, *, key: bytes, port: int = MANAGEMENT_PORT) -> None:
        self._session = session
        self._key = key
        self._port = port

    def _token(self, uid: str) -> str:
        return hmac.new(self._key, f"fetch:{uid}".encode(), hashlib.sha256).hexdigest()

    def token_sha256(self, uid: str) -> str:
        """What a fetch pod of the bundle with this uid may know of its token."""
        return hashlib.sha256(self._token(uid).encode()).hexdigest()

    async def progress(self, *, pod_ip: str, uid: str) -> Progress | None:
        """How far that pod is; None when it does not say."""
        host = f"[{pod_ip}]" if ":" in pod_ip else pod_ip
        url = f"http://{host}:{self._port}/v1/progress"
        headers = {"Authorization": f"Bearer {self._token(uid)}"}
        try:
            async with self._session.get(
                url, headers=headers, timeout=TIMEOUT, allow_redirects=False
            ) as answer:
                raw = await answer.content.read(MAX_ANSWER)
                if answer.status != 200:
                    logger.debug("%s answered %d", url, answer.status)
                    return None
                return Progress.model_validate(json.loads(raw))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, ValidationError) as error:
            logger.debug("%s: %s: %s", url, type(error).__name__, error)
            return None
