"""What the routes work with: made once at start, handed to the app, taken from it by each route."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random, SystemRandom
from typing import Annotated, Any, cast

from fastapi import Depends, Request

from sd_runtime.a1111.checkpoints import Checkpoint, Shelf, find
from sd_runtime.a1111.known_models import KnownModels
from sd_runtime.a1111.option_table import CHECKPOINT
from sd_runtime.a1111.options import Options, Served, Values
from sd_runtime.adapters.embedding import Embeddings
from sd_runtime.errors import NotLoaded, SdError, UnsupportedError
from sd_runtime.health import Health, OptionError, RuntimeState
from sd_runtime.images.saving import OutputFolder
from sd_runtime.jobs.job import Engine, Job
from sd_runtime.jobs.ledger import Ledger
from sd_runtime.jobs.queue import Draining, JobQueue
from sd_runtime.metrics import Metrics
from sd_runtime.models import LoadedCheckpoint
from sd_runtime.models.library import Library
from sd_runtime.plugins import Plugins
from sd_runtime.prompt.styles import Styles
from sd_runtime.routes.forwarding import Peers
from sd_runtime.routes.intake import Intake
from sd_runtime.settings import Settings

#: Serves another checkpoint from now on; returns when it does. Raises `CheckpointError` when it cannot, and
#: `Superseded` when somebody else asks for another one before it does.
Switch = Callable[[Path], Awaitable[None]]


class Superseded(SdError):
    """A checkpoint was asked for, and before it was served another one was: it is the later one that counts.
    Nothing was wrong with the request."""

    reason = "Superseded"


@dataclass(slots=True, kw_only=True)
class Services:
    """Everything a route may use."""

    settings: Settings
    state: RuntimeState
    queue: JobQueue
    ledger: Ledger
    peers: Peers
    library: Library
    shelf: Shelf
    options: Options
    outputs: OutputFolder
    metrics: Metrics
    styles: Styles
    engine: Engine
    plugins: Plugins = field(default_factory=Plugins)
    random: Random = field(default_factory=SystemRandom)
    #: Set once what follows it exists; None where nobody may change the served checkpoint from here, because
    #: an operator says which it is.
    switch: Switch | None = None
    embeddings: Embeddings = field(init=False)
    intake: Intake = field(init=False)
    #: Held while the picture of a model is made small: one at a time, whatever a page of cards asks for.
    shrinking: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _choosing: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    def __post_init__(self) -> None:
        self.intake = Intake(self.settings, self.queue)
        self.embeddings = Embeddings(self.library)

    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint that is served, else the one that is to be; None while it is not known which."""
        loaded = self.state.loaded
        if loaded is not None:
            return self.shelf.entry(loaded.path, loaded.sha256)
        path = self.state.desired.path
        return None if path is None else self.shelf.entry(path)

    def checkpoint_of(self, job: Job) -> Checkpoint:
        """The checkpoint that the job's pictures were made with."""
        return self.shelf.entry(job.checkpoint.path, job.checkpoint.sha256)

    def find_checkpoint(self, field: str, name: str) -> Checkpoint:
        """The checkpoint that a field names in any of A1111's spellings; raises `UnsupportedError`."""
        known = self.shelf.all(self.checkpoint())
        found = find(name, known)
        if found is None:
            raise UnsupportedError(field, name, (each.title for each in known))
        return found

    def current_options(self) -> dict[str, object]:
        """Every option with its value now."""
        served = self.checkpoint()
        return self.options.as_dict(
            checkpoint_title=served.title if served else "",
            checkpoint_sha256=served.sha256 if served else None,
        )

    def take_defaults(self, wished: Mapping[str, Any], loaded: LoadedCheckpoint) -> None:
        """The options that replicas are to have with this checkpoint; what cannot be is told in the state."""
        refused = self.options.take_defaults(wished, self._served(loaded))
        self.state.option_errors = tuple(OptionError(error.field, str(error)) for error in refused)

    def options_with(self, changes: Mapping[str, Any]) -> Values:
        """The options with these changes; raises `UnsupportedError` for one that cannot be honoured."""
        return self.options.overridden(changes, self._served(self.state.loaded))

    async def change_options(self, changes: Mapping[str, Any]) -> None:
        """Keeps these changes until the process ends, and serves the checkpoint that they name, if it is
        another one: all or none. Raises as `options_with` and `switch`; what cannot be with the new
        checkpoint ends with the one before. Of several that name a checkpoint each waits for the one before
        it, and the last one counts."""
        if CHECKPOINT in changes:
            async with self._choosing:
                await self._change(changes)
        else:
            await self._change(changes)

    async def _change(self, changes: Mapping[str, Any]) -> None:
        loaded = self.state.loaded
        name = (await asyncio.to_thread(self.options_with, changes)).checkpoint
        if name is None:
            await asyncio.to_thread(self._keep, changes)
        else:
            if self.switch is None:
                source = (
                    "spec.checkpoint of the SDInstance" if self.settings.desired_file else "SD_CHECKPOINT"
                )
                allowed = f"spellings of the served one ({source} says which that is)"
                raise UnsupportedError(CHECKPOINT, changes[CHECKPOINT], allowed)
            found = await asyncio.to_thread(self.find_checkpoint, CHECKPOINT, name)
            # What is the same as before is no change, also where the new checkpoint has it otherwise.
            kept = await asyncio.to_thread(self.options.differing, changes, self._served(loaded))
            await self.switch(found.path)
            try:
                await asyncio.to_thread(self._keep, kept)
            except UnsupportedError:
                if loaded is not None:
                    await self.switch(loaded.path)
                raise

    def _keep(self, changes: Mapping[str, Any]) -> None:
        self.options.change(changes, self._served(self.state.loaded))

    def _served(self, loaded: LoadedCheckpoint | None) -> Served:
        return Served(
            current=self.current_options(),
            models=KnownModels(self.library, self.shelf, self.checkpoint(), self.plugins),
            text_layers=loaded.text_layers if loaded else None,
        )

    def demand_readiness(self) -> None:
        """Raises why no picture can be made now, if so."""
        if self.state.draining:
            raise Draining("this replica is shutting down; send the request again to reach another")
        if self.state.health is Health.LOAD_FAILED:
            raise NotLoaded(f"the checkpoint could not be loaded: {self.state.error}")
        if self.state.health is not Health.READY:
            raise NotLoaded("the checkpoint is still being loaded; try again shortly")


def _services(request: Request) -> Services:
    return cast(Services, request.app.state.services)


ServicesDep = Annotated[Services, Depends(_services)]


def _demand_readiness(services: ServicesDep) -> None:
    services.demand_readiness()


#: For every route that makes pictures: it refuses before the body is judged.
WhenReady = Depends(_demand_readiness)
