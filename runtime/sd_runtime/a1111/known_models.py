"""The model files as options and requests name them: which names there are, and which file each means."""

from collections.abc import Sequence

from sd_modelfiles.kinds import ModelType
from sd_runtime.a1111 import upscalers
from sd_runtime.a1111.checkpoints import Checkpoint, Shelf, find
from sd_runtime.models.library import Library
from sd_runtime.plugins import Plugins


class KnownModels:
    """The files of a library, the checkpoint that is served (None: not known yet), and plugins' upscalers."""

    def __init__(self, library: Library, shelf: Shelf, served: Checkpoint | None, plugins: Plugins) -> None:
        self._library = library
        self._plugins = plugins
        self._shelf = shelf
        self._served = served

    def means_served(self, name: str) -> bool:
        """Whether a spelling of a checkpoint's name means the served one."""
        found = self._find(name)
        return found is not None and self._served is not None and found.path == self._served.path

    def checkpoint(self, name: str) -> str | None:
        """The name of the checkpoint that this spelling means; None where it means none."""
        found = self._find(name)
        return found.name if found else None

    def has(self, kind: ModelType, name: str) -> bool:
        """Whether a file of this type, or an upscaler of a plugin, goes by this name."""
        if kind is ModelType.UPSCALER:
            if upscalers.file_of(self._library, name) is not None:
                return True
            return upscalers.module_of(self._plugins, name) is not None
        return self._library.find(kind, name) is not None

    def names(self, kind: ModelType) -> Sequence[str]:
        """What the files of this type are called."""
        if kind is ModelType.CHECKPOINT:
            return [each.title for each in self._shelf.usable(self._served)]
        if kind is ModelType.UPSCALER:
            files = [each.name for each in upscalers.with_files(self._library)]
            return [*files, *upscalers.names_of_modules(self._library, self._plugins)]
        if kind is ModelType.VAE:
            return [file.path.name for file in self._library.usable(kind)]
        return [file.stem for file in self._library.usable(kind)]

    def _find(self, name: str) -> Checkpoint | None:
        return find(name, self._shelf.all(self._served))
