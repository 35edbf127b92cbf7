"""The management door (:9091): probes, metrics, and the state that the operator reads. Not for users.

Only /v1/state needs a token: the others say nothing that a pod's neighbours may not know.
"""

import hashlib
import hmac
from ipaddress import ip_address

from fastapi import FastAPI, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from sd_runtime import __version__
from sd_runtime.a1111.checkpoints import Shelf
from sd_runtime.guards.auth import CredentialFiles
from sd_runtime.guards.last_resort import LastResort
from sd_runtime.guards.refusal import refusal
from sd_runtime.health import RuntimeState
from sd_runtime.metrics import Metrics
from sd_runtime.routes import errors


def create_management_app(
    *,
    state: RuntimeState,
    shelf: Shelf,
    metrics: Metrics,
    token_sha256: str,
    credentials: CredentialFiles | None,
) -> FastAPI:
    """The application; `token_sha256` is the hex digest of the bearer token, "" opens the state to loopback
    only; `credentials` are those of the users' door, None when it wants none."""
    app = FastAPI(
        title="Stable Diffusion runtime, management", version=__version__, docs_url=None, redoc_url=None
    )
    app.add_middleware(LastResort)
    errors.install(app)

    @app.get("/healthz")
    async def healthz() -> Response:
        """The process answers. A failed load is not a reason to restart it: see /v1/state."""
        return PlainTextResponse("ok")

    @app.get("/readyz")
    async def readyz() -> Response:
        """200 when pictures can be made now, and somebody can ask for them."""
        complaint = credentials and credentials.complaint()
        if complaint:
            return PlainTextResponse(complaint, status_code=503)
        ready = state.accepts_work
        word = "ready" if ready else "draining" if state.draining else state.health.value
        return PlainTextResponse(word, status_code=200 if ready else 503)

    @app.get("/metrics")
    async def prometheus() -> Response:
        """The process's metrics."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/state")
    async def get_state(request: Request) -> Response:
        """Health, the resident checkpoint and the device."""
        if not _may_read_state(request, token_sha256):
            headers = {"WWW-Authenticate": "Bearer"}
            return refusal(401, "Unauthorized", "the management token is needed", headers)
        return JSONResponse(describe(state, shelf) | describe_credentials(credentials))

    return app


def describe(state: RuntimeState, shelf: Shelf) -> dict[str, object]:
    """/v1/state."""
    loaded = state.loaded
    return {
        "health": state.health.value,
        "checkpoint": loaded and {"path": shelf.relative(loaded.path), "sha256": loaded.sha256},
        "error": state.error,
        "device": loaded
        and {"type": loaded.device.type, "name": loaded.device.name, "dtype": loaded.device.dtype},
        "version": __version__,
    }


def describe_credentials(credentials: CredentialFiles | None) -> dict[str, object]:
    """The part of /v1/state about the users' door: an instance that admits nobody is not ready."""
    if credentials is None:
        return {"credentials": "NotRequired", "credentialsError": None}
    complaint = credentials.complaint()
    return {"credentials": "Missing" if complaint else "Present", "credentialsError": complaint}


def _may_read_state(request: Request, token_sha256: str) -> bool:
    if not token_sha256:
        return request.client is not None and _is_loopback(request.client.host)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    digest = hashlib.sha256(token.strip().encode()).hexdigest()
    return scheme.lower() == "bearer" and hmac.compare_digest(digest, token_sha256)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
