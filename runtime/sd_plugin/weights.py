"""Files of weights as tensors: safetensors, or pickles of PyTorch's that hold nothing but tensors. Code in a
pickle is never run. Knows nothing of what the tensors are for. Needs torch, so only plugins with networks
import it.
"""

import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from sd_plugin import contract, memory, processors
from sd_plugin.errors import ModuleFailed, ModuleUnavailable, PluginError

ENDINGS = (".safetensors", ".pth", ".pt")

Weights = dict[str, torch.Tensor]

#: How the files of trainings wrap a network's own names.
_WRAPPERS = ("", "state_dict.", "model.", "depth_model.", "params.")
_PARALLEL = ("", "module.")
#: Counted by normalisation layers in training; files from before that lack it.
_COUNTER = "num_batches_tracked"
_GLOBAL = re.compile(r"(?i:unsupported)(?: global:)? GLOBAL (\S+)")
_DEEPEST = 4
#: What bytes that are no such file make of the readers is nobody's promise.
_OF_OTHER_FILES = (SafetensorError, RuntimeError, ValueError, LookupError, EOFError, TypeError)


class WrongWeights(ModuleUnavailable):
    """What is in the file is not what is needed, and will not be until the file changes. The sentence may be
    told as a module's reason, whatever the file holds."""

    def __init__(self, sentence: str) -> None:
        super().__init__(contract.line(sentence))


class ShortOfMemory(ModuleFailed):
    """There was too little memory to load the file, which may be as it should; the next time there may be
    enough."""

    def __init__(self, path: Path) -> None:
        super().__init__(contract.line(f"{path.name}: there is too little memory to load it now"))


def limit_threads() -> None:
    """Lets torch take the processors that the container has, not those of the machine; fewer where the
    environment says so in torch's own words."""
    torch.set_num_threads(min(torch.get_num_threads(), processors.threads()))


def read(path: Path) -> Mapping[str, Any]:
    """What the file holds, on the processor: tensors by name, in pickles perhaps in mappings of mappings.

    Raises `ModuleUnavailable`, naming the file, for one that cannot be read, `WrongWeights` for one that is
    something else, or a pickle that names anything but what tensors are made of, and `ShortOfMemory`.
    """
    try:
        if path.name.lower().endswith(".safetensors"):
            return load_file(path)
        with warnings.catch_warnings():
            # torch doubts newer forms of pickles, and reads them all the same.
            warnings.simplefilter("ignore")
            held = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, OSError, MemoryError, *_OF_OTHER_FILES) as error:
        raise _fault(path, error) from error
    if not isinstance(held, Mapping):
        raise WrongWeights(f"{path.name}: holds no tensors by name")
    return held


def _fault(path: Path, error: Exception) -> PluginError:
    if memory.is_short(error):
        return ShortOfMemory(path)
    if isinstance(error, OSError):
        return ModuleUnavailable(f"{path.name}: cannot be read: {error.strerror or error}")
    if isinstance(error, pickle.UnpicklingError):
        return WrongWeights(f"{path.name}: {_refused(error)}")
    return WrongWeights(f"{path.name}: no file of weights that can be read: {_brief(error)}")


def load(network: torch.nn.Module, path: Path) -> None:
    """Gives the network its weights from the file, under its own names or those a training wrapped them in.
    Tensors that the network does not have are left alone. Raises as `read`, and `WrongWeights` that names
    the file and a tensor that is missing or of another shape."""
    tensors = dict(_flat(read(path)))
    wanted = network.state_dict()
    needed = {name: tensor.shape for name, tensor in wanted.items() if not name.endswith(_COUNTER)}
    prefix = max(
        (wrapper + parallel for wrapper in _WRAPPERS for parallel in _PARALLEL),
        key=lambda prefix: sum(prefix + name in tensors for name in needed),
    )
    for name, shape in needed.items():
        given = tensors.get(prefix + name)
        if given is None:
            raise WrongWeights(f"{path.name}: not the weights of this network: {name} is missing")
        if given.shape != shape:
            raise WrongWeights(
                f"{path.name}: not the weights of this network: {name} is {_sides(given.shape)}, "
                f"not {_sides(shape)}"
            )
    fitting = {name: tensors[prefix + name] for name in wanted if prefix + name in tensors}
    # Some networks have a loader of their own, which hides what is missing.
    torch.nn.Module.load_state_dict(network, fitting, strict=False)


def _flat(
    held: Mapping[str, Any], prefix: str = "", depth: int = _DEEPEST
) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in held.items():
        if isinstance(value, torch.Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, Mapping) and depth:
            yield from _flat(value, f"{prefix}{name}.", depth - 1)


def _refused(error: pickle.UnpicklingError) -> str:
    named = _GLOBAL.search(str(error))
    what = f"names {named[1]}" if named else "is not understood"
    return f"a pickle that {what}; only pickles of plain tensors are read, nothing in them is run"


def _brief(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:200] or type(error).__name__


def _sides(shape: torch.Size) -> str:
    return "x".join(map(str, shape)) or "a number"
