"""The process: reads the settings, puts the parts together, and lives until SIGTERM.

The only place where the HTTP half and the engine meet.
"""

import asyncio
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import ValidationError

from sd_runtime import log, serving
from sd_runtime.a1111.checkpoints import Shelf
from sd_runtime.a1111.options import Options
from sd_runtime.app import create_app
from sd_runtime.engine.loop import Engine
from sd_runtime.health import RuntimeState
from sd_runtime.images.saving import OutputFolder
from sd_runtime.jobs.queue import JobQueue
from sd_runtime.management import create_management_app
from sd_runtime.metrics import Metrics
from sd_runtime.routes.services import Services
from sd_runtime.settings import Settings
from sd_runtime.switching import Switcher, wish_at_start


def main() -> int:
    """The process's exit status: 0 after an orderly end, 2 when the settings are wrong."""
    try:
        settings = Settings()
    except ValidationError as error:
        sys.stderr.writelines(f"{_complaint(problem)}\n" for problem in error.errors())
        return 2
    log.configure(settings.log_level)
    asyncio.run(_live(settings))
    return 0


def _complaint(problem: Mapping[str, Any]) -> str:
    if not problem["loc"]:  # of settings together, which the sentence names
        return str(problem["msg"])
    name = "_".join(str(part) for part in problem["loc"]).upper()
    return f"SD_{name}: {problem['msg']} (it is {problem['input']!r})"


async def _live(settings: Settings) -> None:
    services = _services(settings)
    services.metrics.watch_queue(services.queue.waiting)
    engine = Engine(device=settings.device, max_batch=settings.max_batch, observer=services.metrics)
    switcher = Switcher(services, engine)
    wish_at_start(switcher, settings)
    try:
        await serving.run(
            [
                serving.server(
                    create_app(services),
                    host=settings.host,
                    port=settings.port,
                    connections=serving.SPARE_CONNECTIONS + settings.queue_limit,
                ),
                serving.server(
                    create_management_app(services, switcher),
                    host=settings.host,
                    port=settings.management_port,
                ),
            ],
            follow_wishes=switcher.run,
            drain_jobs=partial(
                serving.drain, state=services.state, queue=services.queue, seconds=settings.drain_seconds
            ),
        )
    finally:
        engine.close()


def _services(settings: Settings) -> Services:
    outputs = OutputFolder(settings.output_dir)
    return Services(
        settings=settings,
        state=RuntimeState(),
        queue=JobQueue(limit=settings.queue_limit),
        shelf=Shelf(settings.model_roots),
        options=Options(output_folder=str(outputs.txt2img)),
        outputs=outputs,
        metrics=Metrics(),
    )
