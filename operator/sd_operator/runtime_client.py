"""The only module that speaks to serving pods: asks the management port what the runtime holds.

The token is derived from the operator's key and the instance's uid; the pod's environment has only its
digest, so a pod cannot learn another's token. Knows nothing of what the answer is compared with.
"""

import hashlib
import hmac
from typing import Annotated, Literal, Protocol

import aiohttp
from pydantic import Field, ValidationError

from sd_operator.api.base import Model
from sd_operator.errors import RuntimeUnreachableError
from sd_operator.names import MANAGEMENT_PORT

#: A pod that needs longer than this to say what it holds is asked again later.
TIMEOUT = aiohttp.ClientTimeout(total=3, sock_connect=1)
MAX_ANSWER = 64 * 1024


class LoadedCheckpoint(Model):
    """A checkpoint in the memory of a runtime."""

    path: str
    sha256: str


class Device(Model):
    """What a runtime computes on."""

    type: str
    name: Annotated[str, Field(max_length=256)] = ""
    dtype: str = ""


class RuntimeState(Model):
    """The answer of /v1/state."""

    health: Literal["Starting", "Loading", "Ready", "LoadFailed"]
    checkpoint: LoadedCheckpoint | None = None
    error: str | None = None
    device: Device | None = None
    version: str = ""
    #: Whether the runtime has a user name and password to ask for; None from one that does not tell.
    credentials: Literal["Present", "Missing", "NotRequired"] | None = None
    credentials_error: str | None = None


class Runtimes(Protocol):
    """What reconciles need of serving pods; a fake in the tests has the same."""

    def token_sha256(self, uid: str) -> str:
        """What a pod of the instance with this uid may know of its token."""

    async def state(self, *, pod_ip: str, uid: str) -> RuntimeState:
        """What the runtime of that pod holds."""


class RuntimeClient:
    """`Runtimes` over HTTP."""

    def __init__(self, session: aiohttp.ClientSession, *, key: bytes, port: int = MANAGEMENT_PORT) -> None:
        self._session = session
        self._key = key
        self._port = port

    def token(self, uid: str) -> str:
        """The bearer token of the pods of the instance with this uid."""
        return hmac.new(self._key, uid.encode(), hashlib.sha256).hexdigest()

    def token_sha256(self, uid: str) -> str:
        """What a pod of the instance with this uid may know of its token."""
        return hashlib.sha256(self.token(uid).encode()).hexdigest()

    async def state(self, *, pod_ip: str, uid: str) -> RuntimeState:
        """What the runtime of that pod holds, or a RuntimeUnreachableError that says why we do not know."""
        host = f"[{pod_ip}]" if ":" in pod_ip else pod_ip
        headers = {"Authorization": f"Bearer {self.token(uid)}"}
        try:
            async with self._session.get(
                f"http://{host}:{self._port}/v1/state", headers=headers, timeout=TIMEOUT
            ) as response:
                body = await response.content.read(MAX_ANSWER)
                if response.status != 200:
                    raise RuntimeUnreachableError(
                        f"the management port of {pod_ip} answered with HTTP {response.status}"
                    )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RuntimeUnreachableError(
                f"the management port of {pod_ip} does not answer: {str(error) or type(error).__name__}"
            ) from error
        try:
            return RuntimeState.model_validate_json(body)
        except ValidationError as error:
            raise RuntimeUnreachableError(
                f"the management port of {pod_ip} gave an answer that is none: "
                f"{error.error_count()} fields are wrong"
            ) from error
