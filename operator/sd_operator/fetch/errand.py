"""What this process was sent for, and what it has to do it with. Handed to every step of the story."""

from dataclasses import dataclass
from pathlib import Path

import httpx

from sd_operator.fetch import partial
from sd_operator.fetch.patience import Patience
from sd_operator.fetch.progress import Progress
from sd_operator.fetch.request import File, Request
from sd_operator.fetch.settings import Settings
from sd_operator.fetch.stopping import Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    request: Request
    settings: Settings
    client: httpx.Client
    patience: Patience
    progress: Progress
    stop: Stop

    @property
    def file(self) -> File:
        return self.request.file

    @property
    def root(self) -> Path:
        """Of the volume."""
        return self.settings.root

    @property
    def key(self) -> str:
        """The name of the partial download."""
        return partial.key_of(self.request.bundle, self.file.name)

    @property
    def owner(self) -> str:
        """The name of the file in the manifest of the volume."""
        return owner_of(self.request.bundle, self.file.name)


def owner_of(bundle: str, file: str) -> str:
    return f"{bundle}/{file}"
