"""The management door (:9091): probes, metrics, the state that the operator reads and the wishes that it
sends. Not for users.

What begins with /v1 needs a token: the others say nothing that a pod's neighbours may not know. Where there
is no token only the machine itself is let in, and no page whose name was made to lead to it (DNS rebinding).
"""

import asyncio
import hashlib
import hmac

from fastapi import FastAPI, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from sd_runtime import __version__, desired
from sd_runtime.desired import DesiredUpdate
from sd_runtime.guards.auth import CredentialFiles
from sd_runtime.guards.body_limit import BodyLimit
from sd_runtime.guards.last_resort import LastResort
from sd_runtime.guards.origins import KnownHosts, is_loopback, leads_here
from sd_runtime.guards.refusal import refusal
from sd_runtime.health import Health
from sd_runtime.inventory import Inventory
from sd_runtime.models import LoadedCheckpoint
from sd_runtime.plugins import PluginState
from sd_runtime.routes import errors
from sd_runtime.routes.services import Services
from sd_runtime.switching import Switcher

#: A client that stops in the midst of its body is given up after this.
_BODY_PAUSE_SECONDS = 10.0
#: What the operator hears of a plugin: it reads no more of an answer than a healthy one has, and a plugin may
#: say far more.
_MOST_MODULES, _LONGEST_REASON, _LONGEST_MESSAGE = 64, 200, 1000


def create_management_app(services: Services, switcher: Switcher) -> FastAPI:
    """The application. The digest of its bearer token is a setting; where that is empty, only loopback
    clients that call this machine by a name of its own may read the state and send wishes."""
    settings = services.settings
    credentials = CredentialFiles(settings.auth_dir) if settings.auth == "required" else None
    app = FastAPI(
        title="Stable Diffusion runtime, management", version=__version__, docs_url=None, redoc_url=None
    )
    app.add_middleware(BodyLimit, limit=desired.MAX_BYTES, seconds=_BODY_PAUSE_SECONDS)
    if is_loopback(settings.host):  # else probes and Prometheus call it by an address, or as they like
        app.add_middleware(KnownHosts)
    app.add_middleware(LastResort)
    errors.install(app)
    _answer_probes(app, services, credentials)
    _answer_the_operator(app, services, switcher, credentials)
    return app


def _answer_probes(app: FastAPI, services: Services, credentials: CredentialFiles | None) -> None:
    """Of the kubelet and of Prometheus, who ask without a token."""
    state = services.state

    @app.get("/healthz")
    async def healthz() -> Response:
        """The process answers. A failed load is not a reason to restart it: see /v1/state."""
        return PlainTextResponse("ok")

    @app.get("/readyz")
    async def readyz() -> Response:
        """200 when pictures can be made now, and somebody can ask for them; also of a process that drains.

        A pod that is ended leaves its Service whatever this says. While no other pod serves, the Service
        falls back to those that are ended and still ready: they answer 503 with Retry-After, where otherwise
        nobody would answer.
        """
        complaint = credentials and credentials.complaint()
        if complaint:
            return PlainTextResponse(complaint, status_code=503)
        ready = state.health is Health.READY
        word = "draining" if state.draining else "ready" if ready else state.health.value
        return PlainTextResponse(word, status_code=200 if ready else 503)

    @app.get("/metrics")
    async def prometheus() -> Response:
        """The process's metrics."""
        return Response(generate_latest(services.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _answer_the_operator(
    app: FastAPI, services: Services, switcher: Switcher, credentials: CredentialFiles | None
) -> None:
    settings, inventory = services.settings, Inventory(services.library)

    @app.get("/v1/state")
    async def get_state(request: Request) -> Response:
        """What is served, what is wished, what lies on the volumes."""
        if not _is_admitted(request, settings.management_token_sha256):
            return _stranger()
        return JSONResponse(await _whole_state(services, credentials, inventory))

    @app.put("/v1/desired")
    async def put_desired(request: Request) -> Response:
        """Wishes for a checkpoint and options: 200 when that is in effect already, or wished already; 202
        when it is yet to be done."""
        if not _is_admitted(request, settings.management_token_sha256):
            return _stranger()
        body = await request.body()
        # In a thread, because where a path leads is asked of a volume that may be slow.
        update = await asyncio.to_thread(desired.decode, DesiredUpdate, body, settings.model_roots)
        to_do = switcher.accept(update.wish(), generation=update.generation)
        told = await _whole_state(services, credentials, inventory)
        return JSONResponse(told, status_code=202 if to_do else 200)


async def _whole_state(
    services: Services, credentials: CredentialFiles | None, inventory: Inventory
) -> dict[str, object]:
    files = await asyncio.to_thread(describe_files, inventory)
    return describe(services) | describe_credentials(credentials) | {"files": files}


def describe(services: Services) -> dict[str, object]:
    """The part of /v1/state that is in memory."""
    state = services.state
    loaded, wished, startup = state.loaded, state.desired, state.startup
    return {
        "health": state.health.value,
        "checkpoint": loaded and _describe_checkpoint(services, loaded),
        "error": state.error,
        "device": loaded
        and {"type": loaded.device.type, "name": loaded.device.name, "dtype": loaded.device.dtype},
        "version": __version__,
        "desired": {
            "revision": wished.revision,
            "generation": wished.generation,
            "inEffect": wished.in_effect,
            "error": wished.error,
        },
        "optionErrors": [{"name": each.name, "message": each.message} for each in state.option_errors],
        "plugins": [_describe_plugin(each) for each in services.plugins.states()],
        "startup": startup
        and {"loadSeconds": startup.load_seconds, "warmUpSeconds": startup.warm_up_seconds},
        "draining": state.draining,
    }


def _describe_plugin(plugin: PluginState) -> dict[str, object]:
    """Bounded: 64 modules, and their reasons cut."""
    return {
        "name": plugin.name,
        "kind": plugin.kind,
        "version": plugin.version,
        "ready": plugin.ready,
        "reason": plugin.reason.value,
        "message": _cut(plugin.message, _LONGEST_MESSAGE),
        "modules": [
            {"name": each.name, "available": each.available, "reason": _cut(each.reason, _LONGEST_REASON)}
            for each in plugin.modules[:_MOST_MODULES]
        ],
    }


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _describe_checkpoint(services: Services, loaded: LoadedCheckpoint) -> dict[str, object]:
    """`path` as the volume's manifest has it: below the first root that holds it."""
    roots = [root for root in services.settings.model_roots if loaded.path.is_relative_to(root)]
    return {
        "path": str(loaded.path.relative_to(roots[0]) if roots else loaded.path),
        "sha256": loaded.sha256,
        "family": loaded.family,
        "prediction": loaded.prediction,
        "predictionReason": loaded.prediction_reason,
        "bytes": loaded.bytes,
    }


def describe_files(inventory: Inventory) -> list[dict[str, str | None]]:
    """The part of /v1/state about the volumes: the files of their manifests that are there now; with `error`
    those that cannot be used: they are in no list, and a request that names one is refused with the fault."""
    return [
        {
            "root": str(file.root),
            "path": file.path,
            "sha256": file.sha256,
            "type": file.type,
            "error": file.error,
        }
        for file in inventory.files()
    ]


def describe_credentials(credentials: CredentialFiles | None) -> dict[str, object]:
    """The part of /v1/state about the users' door: an instance that admits nobody is not ready."""
    if credentials is None:
        return {"credentials": "NotRequired", "credentialsError": None}
    complaint = credentials.complaint()
    return {"credentials": "Missing" if complaint else "Present", "credentialsError": complaint}


def _stranger() -> Response:
    return refusal(401, "Unauthorized", "the management token is needed", {"WWW-Authenticate": "Bearer"})


def _is_admitted(request: Request, token_sha256: str) -> bool:
    if not token_sha256:
        client = request.client
        return client is not None and is_loopback(client.host) and leads_here(request.headers.get("host", ""))
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    digest = hashlib.sha256(token.strip().encode()).hexdigest()
    return scheme.lower() == "bearer" and hmac.compare_digest(digest, token_sha256)
