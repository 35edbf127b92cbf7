"""The whole serving half in this process, with a real engine: what `process` starts, but for its ports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from sd_runtime import process
from sd_runtime.app import create_app
from sd_runtime.engine.loop import Engine
from sd_runtime.management import create_management_app
from sd_runtime.metrics import Metrics
from sd_runtime.routes.services import Services
from sd_runtime.settings import Settings
from sd_runtime.switching import Switcher, wish_at_start


@dataclass(frozen=True, slots=True)
class Live:
    """Clients of both doors, and what is behind them."""

    users: httpx.AsyncClient
    operator: httpx.AsyncClient
    services: Services


@asynccontextmanager
async def serving(settings: Settings, **switching: Any) -> AsyncIterator[Live]:
    """It follows its wishes while this lasts; what it is to serve is being loaded when this begins. Without
    the page, which takes seconds to import and has tests of its own."""
    settings = settings.model_copy(update={"page": "off"})
    library, metrics = process.make_library(settings), Metrics()
    engine = Engine(process.engine_settings(settings), library, metrics)
    services = process.make_services(settings, library=library, engine=engine, metrics=metrics)
    switcher = Switcher(services, engine, **switching)
    wish_at_start(switcher, settings)
    following = asyncio.create_task(switcher.run())
    doors = (create_app(services), create_management_app(services, switcher))
    users, operator = (
        httpx.AsyncClient(transport=httpx.ASGITransport(app=door), base_url="http://[::1]") for door in doors
    )
    async with users, operator:
        yield Live(users, operator, services)
        following.cancel()
        await asyncio.to_thread(engine.close)
