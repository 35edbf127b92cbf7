"""The networks that are in memory: loaded when first asked for, the longest unused dropped for new ones."""

import logging
import threading
from collections import OrderedDict
from pathlib import Path

import torch

from sd_plugin import memory, weights
from sd_plugin.errors import ModuleUnavailable
from sd_plugin.plugins.aux_detectors import networks
from sd_plugin.plugins.aux_detectors.networks import NETWORKS
from sd_plugin.shelves import FileKey, Found, Shelf

logger = logging.getLogger(__name__)

#: Of all resident networks, beside what a run takes; the one that was asked for last stays whatever its size.
BUDGET_BYTES = 2**30
FOLDER = "models/Annotators"

_Content = tuple[Path, FileKey]


class Residents:
    """May be asked from any thread, for one network at a time."""

    def __init__(self, shelf: Shelf, budget: int = BUDGET_BYTES) -> None:
        self._shelf = shelf
        self._budget = budget
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, tuple[_Content, torch.nn.Module]] = OrderedDict()
        self._faults: dict[str, tuple[_Content, str]] = {}

    def fault(self, name: str) -> str:
        """Why a network cannot be had now, in a sentence; "" as far as is known without loading it."""
        found = self._find(name)
        if found is None:
            return self._missing(name)
        content, sentence = self._faults.get(name, (None, ""))
        return sentence if content == _content(found) else ""

    def network(self, name: str) -> torch.nn.Module:
        """The network with the weights that its file has now. Raises `ModuleUnavailable`, naming the file, or
        `ShortOfMemory`, which is not kept as a fault of the file."""
        found = self._find(name)
        if found is None:
            raise ModuleUnavailable(self._missing(name))
        content = _content(found)
        with self._lock:
            held = self._loaded.pop(name, None)
            if held is None or held[0] != content:
                del held  # the old one must not stay beside the new one
                # As large as its file, or twice that for one of half precision, which is seen afterwards.
                self._make_room(found.key[0])
                held = content, self._load(name, found)
            self._make_room(size_of(held[1]))
            self._loaded[name] = held
            return held[1]

    def names(self) -> tuple[str, ...]:
        """What is in memory, the longest unused first."""
        return tuple(self._loaded)

    def _load(self, name: str, found: Found) -> torch.nn.Module:
        try:
            network = networks.built(NETWORKS[name])
            weights.load(network, found.path)
        except weights.WrongWeights as error:
            self._faults[name] = _content(found), str(error)
            raise
        except (RuntimeError, MemoryError) as error:
            if memory.is_short(error):
                raise weights.ShortOfMemory(found.path) from error
            raise
        logger.info("loaded %s from %s, %d MB", name, found.path.name, size_of(network) // 10**6)
        return network

    def _make_room(self, needed: int) -> None:
        while (
            self._loaded and needed + sum(size_of(each) for _, each in self._loaded.values()) > self._budget
        ):
            self._loaded.popitem(last=False)

    def _find(self, name: str) -> Found | None:
        return self._shelf.find(*NETWORKS[name].names)

    def _missing(self, name: str) -> str:
        converted, own = NETWORKS[name].names
        return (
            f"{own} (or {converted}) is in none of the folders {FOLDER} of this instance's volumes; "
            "a file of type Annotator in one of its ModelBundles puts it there"
        )


def size_of(network: torch.nn.Module) -> int:
    """Bytes of the weights."""
    return sum(each.numel() * each.element_size() for each in network.state_dict().values())


def _content(found: Found) -> _Content:
    return found.path, found.key


def shelf(roots: tuple[Path, ...]) -> Shelf:
    """The annotators' files below these roots."""
    return Shelf(roots, (FOLDER,), weights.ENDINGS)
