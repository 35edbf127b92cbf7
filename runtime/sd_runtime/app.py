"""The users' door (:7860): A1111's interface behind authentication. Wires and does nothing else."""

from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from sd_runtime import __version__
from sd_runtime.guards.auth import SCHEMES, Auth, CredentialFiles
from sd_runtime.guards.body_limit import BodyLimit
from sd_runtime.guards.last_resort import LastResort
from sd_runtime.guards.measuring import Measuring
from sd_runtime.guards.origins import KnownHosts, Origins, hosts_of, is_loopback
from sd_runtime.guards.refusal import ErrorAnswer
from sd_runtime.guards.typed import Typed
from sd_runtime.routes import (
    a1111_catalog,
    a1111_extras,
    a1111_generate,
    a1111_options,
    controlnet,
    errors,
    internal,
    jobs,
    models,
    not_served,
)
from sd_runtime.routes.services import Services
from sd_runtime.settings import Settings

#: A client that stops in the midst of its body is given up after this.
BODY_PAUSE_SECONDS = 30.0
_EXPOSED_HEADERS = ("X-Process-Time", "Retry-After", "Location")


class _Application(FastAPI):
    """Tells in /openapi.json also of the credentials, which are no route's matter."""

    def openapi(self) -> dict[str, Any]:
        schema = super().openapi()
        if self.state.services.settings.auth == "required":
            schema["components"]["securitySchemes"] = SCHEMES
            schema["security"] = [{name: []} for name in SCHEMES]
        return schema


def create_app(services: Services) -> FastAPI:
    """The application; what it works with is handed in."""
    settings = services.settings
    app = _Application(
        title="Stable Diffusion",
        version=__version__,
        description="The interface of AUTOMATIC1111's web UI, as far as this server serves it.",
        middleware=_guards(services),
        # Their scripts come from a CDN: blank in a cluster, elsewhere a stranger's, with your credentials.
        docs_url=None,
        redoc_url=None,
        # A body of unsaid type is read as JSON; there is nothing else that it could be.
        strict_content_type=False,
        # An empty 307 is followed by many clients as a GET, or not at all; 404 says what is wrong.
        redirect_slashes=False,
        responses={"4XX": {"model": ErrorAnswer}, "5XX": {"model": ErrorAnswer}},
    )
    app.state.services = services
    # Not handed in, as that is for uvicorn's option, which knows no proxy that leaves the prefix where it is.
    app.root_path = settings.root_path
    for module in (
        a1111_generate,
        a1111_extras,
        a1111_catalog,
        a1111_options,
        controlnet,
        internal,
        jobs,
        models,
        not_served,
    ):
        app.include_router(module.router)
    errors.install(app)
    if settings.page == "on":
        _mount_page(app, services)
    return app


def _guards(services: Services) -> list[Middleware]:
    """What each request goes through, the outermost first."""
    settings = services.settings
    guards = [Middleware(Measuring, answered=services.metrics.answered), Middleware(Typed)]
    if settings.cors_origins:
        guards.append(_cors(settings))
    guards.append(Middleware(LastResort))
    if settings.auth == "disabled" and is_loopback(settings.host) and "*" not in settings.cors_origins:
        names = (settings.host, *hosts_of(settings.cors_origins))
        guards.append(Middleware(KnownHosts, names=names))
    guards.append(Middleware(Origins, allowed=settings.cors_origins))
    if settings.auth == "required":
        guards.append(Middleware(Auth, credentials=CredentialFiles(settings.auth_dir)))
    guards.append(
        Middleware(
            BodyLimit,
            limit=settings.max_body_bytes,
            seconds=BODY_PAUSE_SECONDS,
            together=services.intake.bodies,
        )
    )
    return guards


def _mount_page(app: FastAPI, services: Services) -> None:
    """Last, so that every route of the API comes before it."""
    # Gradio takes seconds to import, and memory; who wants no page is spared both.
    from sd_page import mounting

    settings = services.settings
    mounting.mount(
        app,
        most_pixels=min(settings.max_input_pixels, settings.max_pixels_per_request),
        root_path=settings.root_path,
        # They are trusted with what the visitor may do.
        framed_by=settings.cors_origins,
        ending=lambda: services.state.draining,
    )


def _cors(settings: Settings) -> Middleware:
    """Before authentication: a browser asks what it may send without credentials."""
    return Middleware(
        CORSMiddleware,
        allow_origins=list(settings.cors_origins),
        allow_methods=["*"],
        allow_headers=["*"],
        # Pages of any origin at all must not act with the credentials that a browser knows.
        allow_credentials="*" not in settings.cors_origins,
        expose_headers=list(_EXPOSED_HEADERS),
    )
