"""The state of the process as the operator sees it: Starting, Loading, then Ready or LoadFailed.

Written only by the start and stop sequence, read by the doors. It loads nothing itself.
"""

from enum import StrEnum

from sd_runtime.models import LoadedCheckpoint


class Health(StrEnum):
    """What /v1/state calls `health`."""

    #: The process listens; the engine is being prepared.
    STARTING = "Starting"
    #: The checkpoint is being read onto the device.
    LOADING = "Loading"
    #: The checkpoint is resident: pictures can be made.
    READY = "Ready"
    #: The checkpoint could not be loaded; the error says why. The process stays, so that this can be read.
    LOAD_FAILED = "LoadFailed"


class RuntimeState:
    """The one record of where the process stands; every change is one of the methods."""

    def __init__(self) -> None:
        self.health = Health.STARTING
        self.loaded: LoadedCheckpoint | None = None
        self.error: str | None = None
        self.draining = False

    def begin_loading(self) -> None:
        """The engine is there; the checkpoint is being read."""
        self.health = Health.LOADING

    def become_ready(self, loaded: LoadedCheckpoint) -> None:
        """The checkpoint is resident."""
        self.health, self.loaded, self.error = Health.READY, loaded, None

    def fail(self, sentence: str) -> None:
        """Loading ended in an error, which the sentence explains."""
        self.health, self.error = Health.LOAD_FAILED, sentence

    def drain(self) -> None:
        """SIGTERM came: accepted requests are finished, new ones refused."""
        self.draining = True

    @property
    def accepts_work(self) -> bool:
        """Whether a new request can be served now."""
        return self.health is Health.READY and not self.draining
