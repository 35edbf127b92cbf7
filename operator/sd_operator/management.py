"""The operator's own HTTP port: /metrics for Prometheus, /healthz and /readyz for the kubelet.

Knows nothing of what is waited for or complained of.
"""

import contextlib
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from sd_operator.metrics import Metrics


class Health:
    """What the process says of itself, told by its parts as they come."""

    def __init__(self, *, waits_for: str) -> None:
        #: What it waits for before it works on anything; empty once it works.
        self.waits_for = waits_for
        #: Updates what is only known when asked, and returns what is wrong with the process (nothing: empty).
        self.complaints: Callable[[], list[str]] = list

    def unready(self) -> list[str]:
        """Why it does not work: what it waits for is nothing wrong with it, and ended by no restart."""
        waiting = [f"waiting for {self.waits_for}"] if self.waits_for else []
        return [*waiting, *self.complaints()]


def build_app(metrics: Metrics, health: Health) -> web.Application:
    """The routes."""

    async def serve_metrics(_: web.Request) -> web.Response:
        health.complaints()
        return web.Response(
            body=metrics.exposition(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def serve_health(_: web.Request) -> web.Response:
        return _judged(health.complaints())

    async def serve_readiness(_: web.Request) -> web.Response:
        return _judged(health.unready())

    app = web.Application()
    app.add_routes(
        [
            web.get("/metrics", serve_metrics),
            web.get("/healthz", serve_health),
            web.get("/readyz", serve_readiness),
        ]
    )
    return app


def _judged(complaints: list[str]) -> web.Response:
    return web.json_response({"complaints": complaints}, status=503 if complaints else 200)


@contextlib.asynccontextmanager
async def serving(app: web.Application, *, port: int) -> AsyncIterator[None]:
    """Serve on every interface while the block runs."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, None, port).start()
        yield
    finally:
        await runner.cleanup()
