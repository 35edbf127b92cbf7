"""The process: reads the settings, puts the parts together, and lives until SIGTERM.

The only place where the HTTP half and the engine meet.
"""

import asyncio
import sys
from functools import partial

from pydantic import ValidationError

from sd_runtime import log, serving
from sd_runtime.a1111.checkpoints import Shelf
from sd_runtime.a1111.options import Options
from sd_runtime.app import create_app
from sd_runtime.engine.loop import Engine
from sd_runtime.guards.auth import CredentialFiles
from sd_runtime.health import RuntimeState
from sd_runtime.images.saving import OutputFolder
from sd_runtime.jobs.queue import JobQueue
from sd_runtime.management import create_management_app
from sd_runtime.metrics import Metrics
from sd_runtime.routes.services import Services
from sd_runtime.settings import Settings


def main() -> int:
    """The process's exit status: 0 after an orderly end, 2 when the settings are wrong."""
    try:
        settings = Settings()  # type: ignore[call-arg]  # the rest comes from the environment
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            sys.stderr.write(f"SD_{name}: {problem['msg']} (it is {problem['input']!r})\n")
        return 2
    log.configure(settings.log_level)
    asyncio.run(_live(settings))
    return 0


async def _live(settings: Settings) -> None:
    services = _services(settings)
    metrics, state, queue = services.metrics, services.state, services.queue
    metrics.watch_queue(queue.waiting)
    engine = Engine(device=settings.device, max_batch=settings.max_batch, observer=metrics)
    management = create_management_app(
        state=state,
        shelf=services.shelf,
        metrics=metrics,
        token_sha256=settings.management_token_sha256,
        credentials=CredentialFiles(settings.auth_dir) if settings.auth == "required" else None,
    )
    try:
        await serving.run(
            [
                serving.server(
                    create_app(services),
                    host=settings.host,
                    port=settings.port,
                    connections=serving.SPARE_CONNECTIONS + settings.queue_limit,
                ),
                serving.server(management, host=settings.host, port=settings.management_port),
            ],
            load_checkpoint=partial(serving.load, engine, settings.checkpoint, state=state, queue=queue),
            drain_jobs=partial(serving.drain, state=state, queue=queue, seconds=settings.drain_seconds),
        )
    finally:
        engine.close()


def _services(settings: Settings) -> Services:
    outputs = OutputFolder(settings.output_dir)
    return Services(
        settings=settings,
        state=RuntimeState(),
        queue=JobQueue(limit=settings.queue_limit),
        shelf=Shelf(settings.model_roots, settings.checkpoint),
        options=Options(output_folder=str(outputs.txt2img)),
        outputs=outputs,
        metrics=Metrics(),
    )
