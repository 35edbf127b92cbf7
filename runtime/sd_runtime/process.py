"""The process: reads the settings, puts the parts together, and lives until SIGTERM.

The only place where the HTTP half and the engine meet.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from datetime import date
from functools import partial
from random import Random, SystemRandom

from pydantic import ValidationError

from sd_runtime import device, log, serving, standalone
from sd_runtime.a1111.checkpoints import Shelf
from sd_runtime.a1111.options import Options
from sd_runtime.app import create_app
from sd_runtime.engine.loop import Engine
from sd_runtime.engine.settings import EngineSettings
from sd_runtime.health import RuntimeState
from sd_runtime.images.saving import OutputFolder
from sd_runtime.jobs import identity
from sd_runtime.jobs.ledger import Ledger
from sd_runtime.jobs.queue import JobQueue
from sd_runtime.management import create_management_app
from sd_runtime.metrics import Metrics
from sd_runtime.models.library import Library
from sd_runtime.plugins import Bounds, Plugins
from sd_runtime.prompt.styles import Styles
from sd_runtime.routes.forwarding import Peers
from sd_runtime.routes.services import Services
from sd_runtime.settings import Settings, complaints
from sd_runtime.switching import LoadingEngine, Switcher, wish_at_start

logger = logging.getLogger(__name__)

#: Between two looks for saved pictures that are older than they are kept.
_SWEEP_SECONDS = 3600.0


def main(arguments: Sequence[str] = ()) -> int:
    """The process's exit status: 0 after an orderly end, 1 where it cannot listen, 2 when the settings are
    wrong. With arguments it is a person's, alone on a workstation; without, the environment says
    everything."""
    if arguments:
        return standalone.run(arguments, _lived)
    try:
        settings = Settings()
    except ValidationError as error:
        sys.stderr.writelines(f"{each}\n" for each in complaints(error))
        sys.stderr.write("to run it by hand: sd-runtime --models-dir FOLDER; sd-runtime --help tells more\n")
        return 2
    log.configure(settings.log_level)
    return _lived(settings)


def _lived(settings: Settings, person: standalone.Person | None = None) -> int:
    """The exit status at the end of `live`."""
    try:
        asyncio.run(live(settings, person))
    except serving.ListenError as error:
        logger.critical("%s", error)
        return 1
    return 0


async def live(settings: Settings, person: standalone.Person | None = None) -> None:
    """Serves until SIGTERM; a second one ends the process at once. Of a `person` alone, whoever is at the
    users' door may change the served checkpoint, as no operator says which it is. Raises `ListenError` before
    anything is loaded."""
    library, metrics = make_library(settings), Metrics()
    engine = Engine(engine_settings(settings), library, metrics, on_end=_end)
    services = make_services(settings, library=library, engine=engine, metrics=metrics)
    metrics.watch_queue(services.queue.waiting)
    metrics.watch_device_memory(lambda: memory.by_kind() if (memory := device.memory()) else {})
    metrics.watch_plugins(lambda: {each.name: each.ready for each in services.plugins.states()})
    switcher = Switcher(services, engine)
    services.switch = switcher.switch_to if person else None
    wish_at_start(switcher, settings)

    async def attend() -> None:
        if person:
            sys.stderr.write(f"{person.greeting}\n")
        async with asyncio.TaskGroup() as group:
            group.create_task(switcher.run())
            group.create_task(keep_swept(services.outputs))
            group.create_task(services.plugins.follow())

    async def close() -> None:
        # Here, where signals are still heard: a thread may be in the midst of a long call.
        services.plugins.close()
        engine.close()
        await services.peers.close()
        await asyncio.get_running_loop().shutdown_default_executor()

    def abandon() -> None:
        _tell_what_is_given_up(services)
        if person:
            person.tidy()

    await serving.run(
        _doors(services, switcher),
        follow_wishes=attend,
        drain_jobs=partial(
            serving.drain,
            state=services.state,
            queue=services.queue,
            ledger=services.ledger,
            seconds=settings.drain_seconds,
        ),
        close=close,
        abandon=abandon,
    )


def _tell_what_is_given_up(services: Services) -> None:
    told = {
        "requests": len(services.queue.unfinished()),
        "results_not_fetched": services.ledger.uncollected(),
    }
    logger.warning("ended at once by a second signal; what was accepted is given up", extra=told)


def _end() -> None:
    """A process that can compute nothing ends in its usual way; whoever looks after it starts another."""
    os.kill(os.getpid(), signal.SIGTERM)


def make_library(settings: Settings) -> Library:
    """The files below the model roots."""
    cache = settings.cache_dir
    return Library(
        settings.model_roots,
        cache / "digests.json" if cache else None,
        allow_pickles=settings.allow_pickles,
    )


def make_services(
    settings: Settings,
    *,
    library: Library,
    engine: LoadingEngine,
    metrics: Metrics,
    random: Random | None = None,
) -> Services:
    """What the doors work with."""
    styles = settings.styles_files or [root / "styles.csv" for root in settings.model_roots]
    return Services(
        settings=settings,
        state=RuntimeState(),
        queue=JobQueue(limit=settings.queue_limit, replica=identity.replica_called(settings.pod_ip)),
        ledger=Ledger(keep_seconds=settings.job_keep_seconds, keep_bytes=settings.job_keep_bytes),
        peers=Peers(name=settings.peers, own=settings.pod_ip, port=settings.port),
        library=library,
        shelf=Shelf(library),
        options=Options(output_root=settings.output_dir),
        outputs=OutputFolder(settings.output_dir, settings.output_retention_days),
        metrics=metrics,
        styles=Styles(styles),
        engine=engine,
        plugins=make_plugins(settings, metrics),
        random=random or SystemRandom(),
    )


def make_plugins(settings: Settings, metrics: Metrics) -> Plugins:
    """The plugins whose sockets are in the folder; none without one."""
    return Plugins(
        settings.plugin_dir,
        settings.plugins,
        seconds=settings.plugin_seconds,
        bounds=Bounds(
            map_pixels=settings.max_input_pixels,
            result_pixels=max(settings.max_pixels_per_request, settings.max_input_pixels),
        ),
        observer=metrics,
    )


def engine_settings(settings: Settings) -> EngineSettings:
    """What the engine is told of the settings."""
    cache = settings.cache_dir
    return EngineSettings(
        device=settings.device,
        dtype=settings.dtype,
        max_batch=settings.max_batch,
        checkpoint_bytes=settings.checkpoint_cache_bytes,
        adapter_bytes=settings.adapter_cache_bytes,
        controlnet_bytes=settings.controlnet_cache_bytes,
        allow_pickles=settings.allow_pickles,
        compile=settings.compile,
        compile_cache=cache / "compiled" if cache else None,
    )


def _doors(services: Services, switcher: Switcher) -> list[serving.Server]:
    settings = services.settings
    users = serving.server(
        create_app(services),
        host=settings.host,
        port=settings.port,
        connections=serving.SPARE_CONNECTIONS + settings.queue_limit,
    )
    if settings.management_port is None:
        return [users]
    operators = serving.server(
        create_management_app(services, switcher),
        host=settings.host,
        port=settings.management_port,
        setting="SD_MANAGEMENT_PORT (--management-port)",
    )
    return [users, operators]


async def keep_swept(outputs: OutputFolder) -> None:
    """Removes saved pictures that are older than they are kept, now and every hour."""
    while True:
        try:
            await asyncio.to_thread(outputs.sweep, date.today())
        except OSError as error:
            logger.error("old pictures were not removed: %s", error)
        await asyncio.sleep(_SWEEP_SECONDS)
