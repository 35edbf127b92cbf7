"""The outermost guard: an error nobody foresaw is logged under an id, and the client is told the id, nothing
else."""

import logging
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sd_runtime.guards.refusal import refusal

logger = logging.getLogger(__name__)


class LastResort:
    """ASGI middleware: 500 for what escapes the app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            incident = uuid.uuid4().hex[:12]
            logger.exception("unforeseen error", extra={"incident": incident, "path": scope.get("path")})
            if begun or scope["type"] != "http":
                raise  # too late for an answer: the server closes the connection
            sentence = f"an unforeseen error; it is in the log as incident {incident}"
            await refusal(500, "InternalError", sentence)(scope, receive, send)
