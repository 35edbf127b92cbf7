"""The page in the application that serves the interface: the paths that it needs, and no others of Gradio's.

Gradio brings routes that the page does not need (proxies, editors, statistics); they stay unreachable.
"""

import asyncio
import contextlib
import json
import logging
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from urllib.parse import parse_qs

import gradio as gr
from fastapi import FastAPI
from gradio.routes import App
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sd_page import joining, tidying, words, words_cards, words_control
from sd_page.api import Door
from sd_page.layout import page
from sd_page.streams import Share

logger = logging.getLogger(__name__)

#: What a browser asks for while it shows the page; no file of it has a name longer than a disk takes.
_REACHABLE = re.compile(
    r"|/(?:config|theme\.css|favicon\.ico|manifest\.json|robots\.txt|(?:assets|static|svelte)/.{1,200}"
    r"|gradio_api/(?:queue/join|queue/data|upload|upload_progress|cancel|reset|startup-events|theme\.css"
    r"|file=.+|heartbeat/[\w-]{1,64}))?"
)

_UPLOAD, _JOIN, _DATA = "/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/queue/data"
_HEARTBEAT = "/gradio_api/heartbeat/"
_FORWARDED_HOST = b"x-forwarded-host"
#: Seconds between two looks whether the process is about to end.
_LOOK = 1.0
#: The page's own files beside this module.
_STATIC = Path(__file__).parent / "static"


def mount(
    app: Starlette,
    *,
    most_pixels: int,
    root_path: str = "",
    framed_by: Collection[str] = (),
    ending: Callable[[], bool] = lambda: False,
) -> None:
    """Serves the page on `/` of the application, behind its other routes and all of its middleware.
    `most_pixels`: what the application takes of one picture. `root_path`: the prefix under which a proxy
    serves it. `framed_by`: origins of pages that may show this one in a frame. `ending`: whether the process
    is about to end; open pages hold connections, for which it would have to wait."""
    # A line for every request of the page to the interface would tell nothing.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # Made when the first page is opened.
    folder = Path(tempfile.gettempdir(), f"sd-page-{secrets.token_hex(8)}")
    # Read by every component as it is made, and for nothing else.
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    # As its queue is made; else it imports pandas, and makes a table of all events after each.
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(sys.maxsize)
    blocks = page.build(Door(app), folder, most_pixels)
    route = PageRoute(_gradio(blocks, root_path), blocks, folder, framed_by, ending)
    app.router.routes.append(route)


class PageRoute(BaseRoute):
    """Leads the page's paths to Gradio, and no others; keeps from it what it cannot take."""

    def __init__(
        self,
        gradio_app: App,
        blocks: gr.Blocks,
        folder: Path,
        framed_by: Collection[str],
        ending: Callable[[], bool],
    ) -> None:
        self._app = gradio_app
        self._blocks = blocks
        self._folder = folder
        self._ending = ending
        self._headers = _frames(framed_by)
        self._beats, self._streams = Share(), Share()
        self._running: asyncio.Task[None] | None = None
        #: What only the browser does has no function.
        self._needed = {id_: len(fn.inputs) for id_, fn in blocks.fns.items() if fn.fn is not None}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """By the path behind the prefix."""
        if scope["type"] != "http" or not _REACHABLE.fullmatch(_path(scope)):
            return Match.NONE, {}
        return Match.FULL, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        path = _path(scope)
        # Of whoever asks, not of a proxy that is known: the page would lead its visitors to another host.
        scope["headers"] = [each for each in scope["headers"] if each[0] != _FORWARDED_HOST]
        send = self._guarded(send)
        if not path:  # the prefix without its slash, below which no address in the page would lead
            await RedirectResponse(f"{scope['root_path']}/")(scope, receive, send)
            return
        # The first one finds a loop: where it is served, applications have no lifespan.
        if self._running is None or self._running.get_loop() is not asyncio.get_running_loop():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._blocks.run_startup_events()  # type: ignore[no-untyped-call]
            self._running = asyncio.create_task(self._live())
        if path == _UPLOAD:
            # However fast files come, they take no more than they may.
            await asyncio.to_thread(tidying.tidy, self._folder)
        if path == "/" and self._beats.is_full:
            with self._beats.place("") as full:
                await _refused(503, "TooManyPages", full or "", {"Retry-After": "30"})(scope, receive, send)
        elif path.startswith(_HEARTBEAT):
            await self._held(self._beats, path.removeprefix(_HEARTBEAT), self._beat, scope, receive, send)
        elif path == _DATA:
            await self._tell(scope, receive, send)
        elif path == _JOIN and scope["method"] == "POST":
            await self._join(scope, receive, send)
        else:
            await self._pass_on(scope, receive, send)

    async def _join(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, again = await joining.whole(receive)
        wrong = joining.complaint(body, self._needed)
        if wrong is not None:
            await _refused(422, "ValidationError", wrong)(scope, receive, send)
            return
        await self._pass_on(scope, again, send)

    async def _held(
        self, share: Share, session: str, held: ASGIApp, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Passes on what holds a connection for long, where there is a place for it."""
        with share.place(session) as full:
            if full is not None:
                answer = _refused(503, "TooManyPages", full, {"Retry-After": "30"})
                await answer(scope, receive, send)
                return
            await held(scope, receive, send)

    async def _tell(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What becomes of a session's events. Of a session that has none Gradio would begin to tell, and
        fail."""
        (session, *_others) = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])
        if session not in self._blocks._queue.pending_messages_per_session:
            wrong = "session_hash: there is no event of this session; the page must be loaded again"
            await _refused(404, "NotFound", wrong)(scope, receive, send)
            return
        await self._held(self._streams, session, self._told, scope, receive, send)

    async def _told(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The stream itself; where it fails in the midst (its session was forgotten, say) it ends, and the
        log has a line."""
        begun = False

        async def told(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._pass_on(scope, receive, told)
        except Exception as error:
            if not begun:
                raise
            logger.warning(
                "a stream of the page ended early", extra={"error": f"{type(error).__name__}: {error}"}
            )
            await send({"type": "http.response.body", "body": b""})

    def _guarded(self, send: Send) -> Send:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        return guarded

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """To Gradio; its bare answer to what it did not foresee is left out, as the error is raised, too, and
        answered like any other."""
        kept: list[Message] = []

        async def told(message: Message) -> None:
            if kept or (message["type"] == "http.response.start" and message["status"] == 500):
                kept.append(message)
            else:
                await send(message)

        with contextlib.suppress(ClientDisconnect):  # who has gone needs no answer, and the log no line
            await self._app(scope, receive, told)
        for message in kept:
            await send(message)

    async def _beat(self, scope: Scope, receive: Receive, send: Send) -> None:
        """By this a page shows that it is open, for as long as it is; it ends before the process has to."""
        begun = finished = False
        waiting: asyncio.Future[Message] | None = None

        async def heard() -> Message:
            nonlocal waiting
            waiting = waiting or asyncio.ensure_future(receive())
            while not waiting.done():
                if self._ending():
                    return {"type": "http.disconnect"}
                await asyncio.wait({waiting}, timeout=_LOOK)
            message, waiting = waiting.result(), None
            return message

        async def told(message: Message) -> None:
            nonlocal begun, finished
            begun = True
            finished = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, heard, told)
            if begun and not finished:
                await send({"type": "http.response.body", "body": b""})
        finally:
            if waiting is not None:
                waiting.cancel()

    async def _live(self) -> None:
        """For as long as the page is served: what Gradio does in the background, and removing old files."""
        async with self._app.router.lifespan_context(self._app):
            await self._blocks.run_extra_startup_events()  # type: ignore[no-untyped-call]
            try:
                await tidying.forever(self._folder)
            finally:
                shutil.rmtree(self._folder, ignore_errors=True)


def _frames(framed_by: Collection[str]) -> dict[str, str]:
    """Who may show the page in a frame, and have its visitors click there on what they do not see."""
    # With "*" any page may ask, but without credentials; in a frame it would be with them.
    origins = sorted(each for each in framed_by if each != "*")
    headers = {"Content-Security-Policy": " ".join(("frame-ancestors 'self'", *origins))}
    # It cannot name others, and old browsers know nothing else.
    return headers if origins else headers | {"X-Frame-Options": "SAMEORIGIN"}


def _refused(status: int, error: str, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """In the interface's own shape."""
    answer = {"error": error, "detail": detail, "body": "", "errors": detail}
    return JSONResponse(answer, status_code=status, headers=headers)


def _gradio(blocks: gr.Blocks, root_path: str) -> App:
    """Gradio's own application, as `gr.mount_gradio_app` sets it up: mounted on an application that is never
    served, for it would be reachable as a whole, and would need a lifespan."""
    carrier = FastAPI()
    # Without it Gradio lets pages of most origins read what it answers; that is for the interface to say.
    carrier.add_middleware(CORSMiddleware)
    gr.mount_gradio_app(
        carrier,
        blocks,
        path="/",
        root_path=root_path or None,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        show_error=False,
        i18n=words.translations((words_control.EN, words_control.ZH), (words_cards.EN, words_cards.ZH)),
        theme=look(),
        css_paths=sorted(_STATIC.glob("*.css")),
        head="".join(f"<script>{each}</script>" for each in (_says(), *_scripts())),
    )
    mounted = carrier.routes[-1]
    assert isinstance(mounted, Mount)
    gradio_app = mounted.app
    assert isinstance(gradio_app, App)
    return gradio_app


def _scripts() -> list[str]:
    return [path.read_text() for path in sorted(_STATIC.glob("*.js"))]


def _says() -> str:
    """Sentences that scripts say, by language."""
    said = {each: words.sentence(each, "not_a_picture") for each in (words.ENGLISH, words.CHINESE)}
    return f"window.sdNotAPicture = {json.dumps(said)};"


def look() -> gr.themes.Base:
    """Gradio's theme with the fonts that a machine has: nothing is fetched from elsewhere."""
    sans = ["system-ui", "-apple-system", "Segoe UI", "Noto Sans", "Noto Sans CJK SC", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
    theme = gr.themes.Default(primary_hue="blue", font=sans, font_mono=mono)
    # Gradio's own colours of these are too faint, or too bright below white, to read (WCAG 2 AA: 4.5 to 1).
    return theme.set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
        button_cancel_background_fill="#b91c1c",
        button_cancel_background_fill_hover="#991b1b",
        button_cancel_background_fill_dark="#b91c1c",
        button_cancel_background_fill_hover_dark="#991b1b",
    )


def _path(scope: Scope) -> str:
    path, prefix = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(prefix) :] if prefix and f"{path}/".startswith(f"{prefix}/") else path
