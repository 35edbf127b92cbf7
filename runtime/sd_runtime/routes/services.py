"""What the routes work with: made once at start, handed to the app, taken from it by each route."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random, SystemRandom
from typing import Annotated, Any, cast

from fastapi import Depends, Request

from sd_runtime.a1111.checkpoints import Checkpoint, Shelf, find
from sd_runtime.a1111.options import Options, Served, Values
from sd_runtime.errors import NotLoaded
from sd_runtime.health import Health, OptionError, RuntimeState
from sd_runtime.images.saving import OutputFolder
from sd_runtime.jobs.job import Job
from sd_runtime.jobs.queue import Draining, JobQueue
from sd_runtime.metrics import Metrics
from sd_runtime.models import LoadedCheckpoint
from sd_runtime.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything a route may use."""

    settings: Settings
    state: RuntimeState
    queue: JobQueue
    shelf: Shelf
    options: Options
    outputs: OutputFolder
    metrics: Metrics
    random: Random = field(default_factory=SystemRandom)

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

    def current_options(self) -> dict[str, object]:
        """Every option with its value now."""
        served = self.checkpoint()
        return self.options.as_dict(
            checkpoint_title=served.title if served else "",
            checkpoint_sha256=served.sha256 if served else None,
        )

    def take_defaults(self, wished: Mapping[str, Any], loaded: LoadedCheckpoint) -> None:
        """The options that replicas are to have with this checkpoint; what cannot be is told in the state."""
        refused = self.options.take_defaults(wished, loaded.text_layers)
        self.state.option_errors = tuple(OptionError(error.field, str(error)) for error in refused)

    def options_with(self, changes: Mapping[str, Any]) -> Values:
        """The options with these changes; raises `UnsupportedError` for one that cannot be honoured."""
        return self.options.overridden(changes, self._served())

    def change_options(self, changes: Mapping[str, Any]) -> None:
        """Keeps these changes until the process ends; raises as `options_with`."""
        self.options.change(changes, self._served())

    def _served(self) -> Served:
        loaded = self.state.loaded
        layers = loaded.text_layers if loaded else None
        return Served(current=self.current_options(), names=self.names_served, text_layers=layers)

    def names_served(self, name: str) -> bool:
        """Whether a spelling of a checkpoint's name means the served one."""
        served = self.checkpoint()
        found = find(name, self.shelf.all(served))
        return found is not None and served is not None and found.path == served.path

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
