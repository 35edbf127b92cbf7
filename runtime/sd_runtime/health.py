"""The state of the process as the operator sees it: Starting, Loading, then Ready or LoadFailed; and how far
the last wish has come.

Written only by those that start, switch and stop; read by the doors. It loads nothing itself.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sd_runtime.models import LoadedCheckpoint


class Health(StrEnum):
    """What /v1/state calls `health`."""

    #: The process listens; the engine is being prepared.
    STARTING = "Starting"
    #: A wish is being followed for the first time while nothing is served. Not told while the process serves
    #: on, nor when a failed wish is tried again.
    LOADING = "Loading"
    #: A checkpoint is served: requests are accepted. It may be the one before the wished one.
    READY = "Ready"
    #: No checkpoint could be loaded; the error says why. The process stays, so that this can be read, and
    #: tries again.
    LOAD_FAILED = "LoadFailed"


@dataclass(frozen=True, slots=True)
class Startup:
    """How long the first load of this process took, and its warm-up (0 where that is off)."""

    load_seconds: float
    warm_up_seconds: float


@dataclass(frozen=True, slots=True)
class OptionError:
    """A wished option that cannot be honoured, and why."""

    name: str
    message: str


@dataclass(slots=True, kw_only=True)
class Desired:
    """The last wish: which it is, and what became of it. `path` is that of its checkpoint."""

    path: Path | None = None
    revision: str | None = None
    generation: int | None = None
    in_effect: bool = False
    error: str | None = None


class RuntimeState:
    """The one record of where the process stands; every change is one of the methods."""

    def __init__(self) -> None:
        self.health = Health.STARTING
        #: The checkpoint that requests are served with; during a switch the one before it.
        self.loaded: LoadedCheckpoint | None = None
        self.error: str | None = None
        self.desired = Desired()
        self.option_errors: tuple[OptionError, ...] = ()
        self.startup: Startup | None = None
        self.draining = False

    def wish(self, *, path: Path, revision: str | None, generation: int | None) -> None:
        """Something else is to be served from now on."""
        self.desired = Desired(path=path, revision=revision, generation=generation)

    def begin_loading(self) -> None:
        """The engine is there; the checkpoint is being read, and nothing is served meanwhile."""
        self.health, self.error = Health.LOADING, None

    def become_ready(self, loaded: LoadedCheckpoint) -> None:
        """This checkpoint is resident and served."""
        self.health, self.loaded, self.error = Health.READY, loaded, None

    def come_into_effect(self) -> None:
        """What was wished last is what is served."""
        self.desired.in_effect, self.desired.error = True, None

    def fail_wish(self, sentence: str) -> None:
        """What was wished last cannot be served, for this reason."""
        self.desired.in_effect, self.desired.error = False, sentence

    def fail(self, sentence: str) -> None:
        """Nothing can be served, for this reason."""
        self.health, self.loaded, self.error = Health.LOAD_FAILED, None, sentence

    def drain(self) -> None:
        """SIGTERM came: accepted requests are finished, new ones refused."""
        self.draining = True
