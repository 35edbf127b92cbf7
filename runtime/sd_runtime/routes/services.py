"""What the routes work with: made once at start, handed to the app, taken from it by each route."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random, SystemRandom
from typing import Annotated, Any, cast

from fastapi import Depends, Request

from sd_runtime.a1111.checkpoints import Checkpoint, Shelf, find
from sd_runtime.a1111.options import Options, Served, Values
from sd_runtime.health import Health, RuntimeState
from sd_runtime.images.saving import OutputFolder
from sd_runtime.jobs.queue import JobQueue
from sd_runtime.metrics import Metrics
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

    def checkpoint(self) -> Checkpoint:
        """The checkpoint that this process serves."""
        return self.shelf.served(self.state.loaded)

    def current_options(self) -> dict[str, object]:
        """Every option with its value now."""
        served = self.checkpoint()
        return self.options.as_dict(checkpoint_title=served.title, checkpoint_sha256=served.sha256)

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
        found = find(name, self.shelf.all(self.state.loaded))
        return found is not None and found.path == self.checkpoint().path

    def why_not_ready(self) -> str | None:
        """Why no picture can be made now; None when one can."""
        if self.state.health is Health.READY:
            return None
        if self.state.health is Health.LOAD_FAILED:
            return f"the checkpoint could not be loaded: {self.state.error}"
        return "the checkpoint is still being loaded; try again shortly"


def _services(request: Request) -> Services:
    return cast(Services, request.app.state.services)


ServicesDep = Annotated[Services, Depends(_services)]
