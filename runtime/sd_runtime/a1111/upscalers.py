"""How a picture is made larger, by A1111's names: ways that need no file, a file's network each, and modules
of plugins.

Whether a file can be used is found out when it is: nothing is read here.
"""

import logging
import re
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from sd_modelfiles.kinds import ModelType
from sd_runtime.engine.work import Pixels
from sd_runtime.errors import UnsupportedError
from sd_runtime.models.library import Library, ModelFile
from sd_runtime.plugins import UPSCALER, Module, Plugins, full_name
from sd_runtime.tasks.recipe import Upscaler

logger = logging.getLogger(__name__)

NONE = "None"
LANCZOS = "Lanczos"
NEAREST = "Nearest"
#: Of pixels, without a network.
PLAIN = (NONE, LANCZOS, NEAREST)
#: Of latents, for the second pass; the first is what an empty hr_upscaler means.
LATENT_MODES = (
    "Latent",
    "Latent (antialiased)",
    "Latent (bicubic)",
    "Latent (bicubic antialiased)",
    "Latent (nearest)",
    "Latent (nearest-exact)",
)

#: What A1111 calls files that it knows, by their names without ending in lower case.
_WELL_KNOWN = {
    "realesrgan_x4plus": "R-ESRGAN 4x+",
    "realesrgan_x4plus_anime_6b": "R-ESRGAN 4x+ Anime6B",
    "realesrgan_x2plus": "R-ESRGAN 2x+",
    "realesr-general-x4v3": "R-ESRGAN General 4xV3",
    "realesr-general-wdn-x4v3": "R-ESRGAN General WDN 4xV3",
    "realesr-animevideov3": "R-ESRGAN AnimeVideo",
}
_FACTOR = re.compile(r"(?<![0-9a-z])([1-8])x|x([1-8])(?![0-9])", re.IGNORECASE)
_USUAL_FACTOR = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """An upscaler as clients see it; `scale` is what its name says, as the file is not read."""

    name: str
    path: Path | None = None
    scale: int = _USUAL_FACTOR

    @property
    def is_well_known(self) -> bool:
        """Whether it goes by A1111's own name for it."""
        return self.name in _WELL_KNOWN.values()


def all_of(library: Library, plugins: Plugins) -> list[Entry]:
    """Every upscaler of pixels that can be used now: those without a file first, those of plugins last."""
    return [*(Entry(name) for name in PLAIN), *with_files(library), *_of_plugins(library, plugins)]


def with_files(library: Library) -> list[Entry]:
    """Those that are a file's network."""
    return [
        Entry(name_of(file), file.path, _factor(file.stem)) for file in library.usable(ModelType.UPSCALER)
    ]


def file_of(library: Library, name: str) -> ModelFile | None:
    """The file that goes by this name: A1111's where it has one, else the file's."""
    wanted = name.lower()
    for file in library.all(ModelType.UPSCALER):
        if wanted == name_of(file).lower():
            return file
    return library.find(ModelType.UPSCALER, name)


def find(
    library: Library,
    plugins: Plugins,
    field: str,
    name: str | None,
    *,
    tile: int = 192,
    overlap: int = 8,
) -> Upscaler:
    """The upscaler of pixels that a field names, empty meaning "None"; raises `UnsupportedError` with the
    names there are, and `PluginUnavailable` for one of a plugin that cannot be used now."""
    wanted = (name or NONE).strip().lower()
    for plain in PLAIN:
        if wanted == plain.lower():
            return Upscaler(name=plain)
    file = file_of(library, name or "")
    if file is not None:
        return Upscaler(name=name_of(file), path=file.path, tile=tile, overlap=overlap)
    module = module_of(plugins, name or "")
    if module is None:
        raise UnsupportedError(field, name, (each.name for each in all_of(library, plugins)))
    plugins.demand(module)
    return Upscaler(
        name=name_of_module(library, plugins, module),
        plugin=partial(_enlarged, plugins, module, field),
        lane=module.plugin,
    )


def module_of(plugins: Plugins, name: str) -> Module | None:
    """The module of a plugin that goes by this name; also one that cannot be used now."""
    return plugins.find(UPSCALER, name)


def names_of_modules(library: Library, plugins: Plugins) -> list[str]:
    """What the upscalers of plugins are called, also those that cannot be used now."""
    return [name_of_module(library, plugins, module) for module in plugins.modules(UPSCALER).values()]


def _enlarged(plugins: Plugins, module: Module, field: str, pixels: Pixels) -> Pixels:
    return plugins.run(module, pixels, field=field).image


def _of_plugins(library: Library, plugins: Plugins) -> list[Entry]:
    return [
        Entry(name_of_module(library, plugins, module), scale=module.state.factor or _USUAL_FACTOR)
        for module in plugins.modules(UPSCALER).values()
        if module.state.available
    ]


def name_of_module(library: Library, plugins: Plugins, module: Module) -> str:
    """What a plugin's upscaler is called: its own name, unless that leads to something else here."""
    name, full = module.state.name, full_name(module)
    is_plain = name in (plain.lower() for plain in PLAIN)
    if is_plain or file_of(library, name) is not None:
        _tell_once(name, full, "an upscaler that is built in" if is_plain else "a file")
        return full
    return name if module_of(plugins, name) == module else full


@lru_cache(maxsize=256)
def _tell_once(name: str, full: str, other: str) -> None:
    logger.warning("the name %s leads to %s; the plugin's upscaler is %s", name, other, full)


def name_of(file: ModelFile) -> str:
    """What a file's upscaler is called: A1111's own name where it has one."""
    return _WELL_KNOWN.get(file.stem.lower(), file.stem)


def _factor(stem: str) -> int:
    found = _FACTOR.search(stem)
    return int(found[1] or found[2]) if found else _USUAL_FACTOR
