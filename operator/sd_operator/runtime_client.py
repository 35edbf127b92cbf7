"""The only module that speaks to serving pods: asks the management port what the runtime holds, and tells it
what to serve.

The token is derived from the operator's key and the instance's uid; the pod's environment has only its
digest, so a pod cannot learn another's token. Knows nothing of what the answer is compared with.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol

import aiohttp
from pydantic import Field, ValidationError

from sd_operator.api.base import Model
from sd_operator.errors import RuntimeUnreachableError
from sd_operator.names import MANAGEMENT_PORT

#: A pod that needs longer than this to say what it holds is asked again later.
TIMEOUT = aiohttp.ClientTimeout(total=3, sock_connect=1)
#: Some hundred bytes a file, of which 16 bundles may hold 1,024; and of each of 16 plugins 64 modules with a
#: reason of 200 characters, which are up to 1 KiB each.
MAX_ANSWER = 2 * 1024 * 1024
#: Answers of a runtime that understood what it was told.
_TAKEN = (200, 202)


class LoadedCheckpoint(Model):
    """A checkpoint in the memory of a runtime."""

    path: str
    sha256: str


class Device(Model):
    """What a runtime computes on."""

    type: str
    name: Annotated[str, Field(max_length=256)] = ""
    dtype: str = ""


class DesiredState(Model):
    """What a runtime was told last, and what became of it."""

    #: Digest of what it was told; None: nothing yet.
    revision: str | None = None
    #: Whether it serves that.
    in_effect: bool = False
    #: Why it does not, once that is certain.
    error: str | None = None


class OptionError(Model):
    """An option that the runtime does not serve, or not with this value."""

    name: str
    message: str


class StartUp(Model):
    """How long the first load of the process took, in seconds."""

    load_seconds: float
    warm_up_seconds: float


class ListedFile(Model):
    """A file that the runtime finds on a mounted volume and in its manifest."""

    root: str
    path: str
    sha256: str


class ModuleState(Model):
    """A module of a plugin, as the plugin told the runtime."""

    name: str
    available: bool = True
    reason: str = ""


class PluginState(Model):
    """A plugin as it answered the runtime last."""

    name: str
    kind: str | None = None
    version: str = ""
    ready: bool = False
    #: One word for why it is not.
    reason: str = ""
    message: str = ""
    modules: tuple[ModuleState, ...] = ()


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
    desired: DesiredState = DesiredState()
    option_errors: tuple[OptionError, ...] = ()
    startup: StartUp | None = None
    files: tuple[ListedFile, ...] = ()
    plugins: tuple[PluginState, ...] = ()
    #: Whether it finishes what it accepted and takes nothing new.
    draining: bool = False


class Runtimes(Protocol):
    """What reconciles need of serving pods; a fake in the tests has the same."""

    def token_sha256(self, uid: str) -> str:
        """What a pod of the instance with this uid may know of its token."""

    async def state(self, *, pod_ip: str, uid: str) -> RuntimeState:
        """What the runtime of that pod holds."""

    async def desire(self, *, pod_ip: str, uid: str, wish: Mapping[str, Any]) -> RuntimeState:
        """Tell the runtime of that pod what to serve; what it holds after that."""


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
        return await self._call("GET", "/v1/state", pod_ip=pod_ip, uid=uid, body=None)

    async def desire(self, *, pod_ip: str, uid: str, wish: Mapping[str, Any]) -> RuntimeState:
        """Tell the runtime of that pod what to serve; a RuntimeUnreachableError when it does not take it."""
        return await self._call("PUT", "/v1/desired", pod_ip=pod_ip, uid=uid, body=wish)

    async def _call(
        self, method: str, path: str, *, pod_ip: str, uid: str, body: Mapping[str, Any] | None
    ) -> RuntimeState:
        host = f"[{pod_ip}]" if ":" in pod_ip else pod_ip
        headers = {"Authorization": f"Bearer {self.token(uid)}"}
        try:
            async with self._session.request(
                method, f"http://{host}:{self._port}{path}", headers=headers, json=body, timeout=TIMEOUT
            ) as response:
                answer = await _whole(response.content)
                if response.status in (404, 405):
                    raise RuntimeUnreachableError(
                        f"spec.image: the runtime of {pod_ip} does not know {method} {path}: it is of "
                        "another version than the operator"
                    )
                if response.status not in _TAKEN:
                    raise RuntimeUnreachableError(
                        f"the management port of {pod_ip} answered {method} {path} with HTTP "
                        f"{response.status}{_words(answer)}"
                    )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RuntimeUnreachableError(
                f"the management port of {pod_ip} does not answer: {str(error) or type(error).__name__}"
            ) from error
        try:
            return RuntimeState.model_validate_json(answer)
        except ValidationError as error:
            raise RuntimeUnreachableError(
                f"the management port of {pod_ip} gave an answer that is none: "
                f"{error.error_count()} fields are wrong"
            ) from error


async def _whole(content: aiohttp.StreamReader) -> bytes:
    """The body, up to MAX_ANSWER bytes."""
    parts, size = [], 0
    async for part in content.iter_any():
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER:
            raise RuntimeUnreachableError(
                f"an answer of the management port has more than {MAX_ANSWER} bytes"
            )
    return b"".join(parts)


def _words(answer: bytes) -> str:
    """What a refusal says in words, where it says anything."""
    try:
        told = json.loads(answer)
    except ValueError:
        return ""
    words = told.get("detail") or told.get("errors") or told.get("error") if isinstance(told, dict) else None
    return f": {str(words)[:300]}" if words else ""
