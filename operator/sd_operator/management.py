"""The operator's own HTTP port: /metrics for Prometheus and /healthz for the kubelet."""

import contextlib
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from sd_operator.metrics import Metrics

#: Updates what is only known when asked, and returns what is wrong with the process (nothing: empty).
Health = Callable[[], list[str]]


def build_app(metrics: Metrics, health: Health) -> web.Application:
    """The routes."""

    async def serve_metrics(_: web.Request) -> web.Response:
        health()
        return web.Response(
            body=metrics.exposition(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def serve_health(_: web.Request) -> web.Response:
        complaints = health()
        return web.json_response({"complaints": complaints}, status=503 if complaints else 200)

    app = web.Application()
    app.add_routes([web.get("/metrics", serve_metrics), web.get("/healthz", serve_health)])
    return app


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
