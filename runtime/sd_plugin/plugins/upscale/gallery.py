"""Which upscalers there are: one module for each file, available as soon as somebody has looked into it.

A file is looked into once while it stays the same, in a thread of its own, since descriptions are asked for
every few seconds and must not wait. One that turns out to be no upscaler is listed with the reason; so is one
that cannot be read for now, which is tried again.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from sd_plugin import weights
from sd_plugin.contract import MOST_MODULES, ModuleDescription, Parameter, line
from sd_plugin.errors import ModuleUnavailable, PluginError, TooLarge
from sd_plugin.module import Grey, Module, Pixels, Result
from sd_plugin.plugins.upscale import naming, networks, tiles
from sd_plugin.shelves import FileKey, Found, Shelf

logger = logging.getLogger(__name__)

FOLDERS = ("models/ESRGAN", "models/RealESRGAN", "models/SwinIR", "models/DAT")

#: Of a picture, given or made: 8192 pixels square.
MOST_PIXELS = 2**26
#: Networks that are kept for the next run.
_KEPT = 2
#: Seconds until a file that could not be read is tried again; twice as long each time, up to the second.
_SOON, _LATE = 30.0, 3600.0
#: A large network takes about a gigabyte of memory for it, and four times that for one twice as large.
_LARGEST_TILE = 256
#: As A1111's settings of the same names have them.
PARAMETERS = (
    Parameter(
        name="tile",
        label="Tile size",
        type="integer",
        default=192,
        minimum=32,
        maximum=_LARGEST_TILE,
        step=16,
        unit="px",
    ),
    Parameter(
        name="overlap",
        label="Tile overlap",
        type="integer",
        default=8,
        minimum=0,
        maximum=48,
        step=1,
        unit="px",
    ),
)
_Content = tuple[Path, FileKey]


@dataclass(frozen=True, slots=True)
class Seen:
    """What looking into a file told: how many times it enlarges, or why it cannot be used. `again` is when it
    shall be tried another time, of `time.monotonic`, and `pause` how long that was put off."""

    factor: int = 1
    fault: str = ""
    again: float | None = None
    pause: float = 0.0


class Resident:
    """The networks used last. For one thread at a time."""

    def __init__(self) -> None:
        self._networks: OrderedDict[_Content, networks.Upscaler] = OrderedDict()

    def get(self, content: _Content) -> networks.Upscaler:
        """The file's network; raises as `networks.load`."""
        if content not in self._networks:
            while len(self._networks) >= _KEPT:
                self._networks.popitem(last=False)
            self._networks[content] = networks.load(content[0])
        self._networks.move_to_end(content)
        return self._networks[content]


class FileModule:
    """An upscaler's file; available once it has been looked into and can be used."""

    def __init__(self, name: naming.Name, found: Found, seen: Seen | None, resident: Resident) -> None:
        self._content: _Content = found.path, found.key
        self._resident = resident
        fault = seen.fault if seen else line(f"{found.path.name}: it is being looked into; ask again shortly")
        self.description = ModuleDescription(
            name=name.name,
            label=name.label,
            aliases=name.aliases,
            available=not fault,
            reason=fault,
            factor=seen.factor if seen else 1,
            parameters=PARAMETERS,
        )

    def run(self, image: Pixels, mask: Grey | None, parameters: Mapping[str, float]) -> Result:
        """See `Module.run`; raises `TooLarge` for a result of more than `MOST_PIXELS`."""
        network = self._resident.get(self._content)
        height, width = image.shape[:2]
        if height * width * network.factor**2 > MOST_PIXELS:
            raise TooLarge(
                f"image: {width}x{height} enlarged {network.factor} times is too large; "
                f"allowed: results of at most {MOST_PIXELS} pixels"
            )
        made = tiles.joined(
            image,
            network.enlarge,
            tile=int(parameters["tile"]),
            overlap=int(parameters["overlap"]),
            factor=network.factor,
        )
        return Result(made)


class NoFile:
    """Stands for the upscalers where there is none yet, so that the plugin can say what is wanted."""

    description = ModuleDescription(
        name="realesrgan_x4plus",
        label=naming.WELL_KNOWN["realesrgan_x4plus"],
        available=False,
        reason=(
            f"no upscaler's file is in the folders {', '.join(FOLDERS)} of this instance's volumes; "
            "a file of type Upscaler in one of its ModelBundles, such as RealESRGAN_x4plus.pth, puts it there"
        ),
        factor=4,
        parameters=PARAMETERS,
    )

    def run(self, image: Pixels, mask: Grey | None, parameters: Mapping[str, float]) -> Result:
        """See `Module.run`."""
        raise ModuleUnavailable(self.description.reason)


class Gallery(Sequence[Module]):
    """The modules that there are now. `shelf` has the files."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._resident = Resident()
        self._seen: dict[_Content, Seen] = {}
        self._looking: threading.Thread | None = None
        #: What the log has been told of files that are called otherwise, or left out.
        self._told: frozenset[str] = frozenset()

    def look(self) -> None:
        """Looks into the files that are new or due again; takes as long as reading them does."""
        for found in self._chosen().values():
            content = found.path, found.key
            if self._is_due(content):
                self._seen[content] = _looked_into(found, self._seen.get(content))

    def _is_due(self, content: _Content) -> bool:
        seen = self._seen.get(content)
        return seen is None or (seen.again is not None and time.monotonic() >= seen.again)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Module]: ...
    def __getitem__(self, index: int | slice) -> Module | Sequence[Module]:
        return self._modules()[index]

    def __len__(self) -> int:
        return len(self._modules())

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules())

    def _modules(self) -> tuple[Module, ...]:
        chosen = self._chosen()
        contents = [(found.path, found.key) for found in chosen.values()]
        idle = self._looking is None or not self._looking.is_alive()
        if idle and any(map(self._is_due, contents)):
            self._looking = threading.Thread(target=self.look, name="gallery", daemon=True)
            self._looking.start()
        modules = tuple(
            FileModule(name, found, self._seen.get((found.path, found.key)), self._resident)
            for name, found in chosen.items()
        )
        return modules or (NoFile(),)

    def _chosen(self) -> dict[naming.Name, Found]:
        """The files by what their modules are called, as many as there may be."""
        named, told = naming.named(self._shelf.files(), most=MOST_MODULES)
        for sentence in sorted(told - self._told):
            logger.warning("%s", sentence)
        self._told = told
        return named


def _looked_into(found: Found, before: Seen | None) -> Seen:
    try:
        return Seen(networks.load(found.path).factor)
    except PluginError as error:
        fault = line(str(error))
        if before is None or before.fault != fault:
            logger.warning("%s", fault)
        if isinstance(error, weights.WrongWeights):
            return Seen(fault=fault)
        # It may be as it should, only not now: the volume is away, or a run has the memory.
        pause = min(2 * before.pause, _LATE) if before and before.pause else _SOON
        return Seen(fault=fault, again=time.monotonic() + pause, pause=pause)
