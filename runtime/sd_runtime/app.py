"""The users' door (:7860): A1111's interface behind authentication. Wires and does nothing else."""

from fastapi import FastAPI
from starlette.middleware import Middleware

from sd_runtime import __version__
from sd_runtime.guards.auth import BasicAuth, CredentialFiles
from sd_runtime.guards.body_limit import BodyLimit
from sd_runtime.guards.last_resort import LastResort
from sd_runtime.guards.measuring import Measuring
from sd_runtime.routes import a1111_catalog, a1111_generate, a1111_options, errors, not_served
from sd_runtime.routes.services import Services

MAX_BODY_BYTES = 32 * 1024 * 1024
#: A client that stops in the midst of its body is given up after this.
BODY_PAUSE_SECONDS = 30.0


def create_app(services: Services) -> FastAPI:
    """The application; what it works with is handed in."""
    settings = services.settings
    guards = [Middleware(Measuring, answered=services.metrics.answered), Middleware(LastResort)]
    if settings.auth == "required":
        guards.append(Middleware(BasicAuth, credentials=CredentialFiles(settings.auth_dir)))
    guards.append(Middleware(BodyLimit, limit=MAX_BODY_BYTES, seconds=BODY_PAUSE_SECONDS))
    app = FastAPI(
        title="Stable Diffusion",
        version=__version__,
        description="The interface of AUTOMATIC1111's web UI, as far as this server serves it.",
        middleware=guards,
        # A body of unsaid type is read as JSON; there is nothing else that it could be.
        strict_content_type=False,
    )
    app.state.services = services
    for module in (a1111_generate, a1111_catalog, a1111_options, not_served):
        app.include_router(module.router)
    errors.install(app)
    return app
