"""What the tensors of a pickle are called, and the notes beside them.

A safetensors file has names and no nesting: the keys on the way to a tensor are joined by ".", as a module's
parameters are. What programs wrap their weights in is taken off first, so that a converted file has the names
that readers of safetensors files look for. Knows nothing of types of models but those wrappings.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from sd_modelfiles.pickles.errors import PickleMalformed
from sd_modelfiles.pickles.values import LOST, Instance, Mapping, Storage, Tensor

# A container that is met on many ways to a tensor is walked through on each.
_MAX_VISITS = 100_000
# Of bytes in the names on all ways.
_MAX_LETTERS = 4 * 1024 * 1024
_MAX_DEPTH = 32
_MAX_NAME = 1024
# A checkpoint of SDXL has 2,600, twice as many with smoothed weights.
_MAX_TENSORS = 16_000

# Trainers' and upscalers' wrappings, of which smoothed weights are the better ones.
_WRAPPINGS = ("state_dict", "params_ema", "params-ema", "params")
# A1111's embeddings: one tensor, under any name.
_EMBEDDING, _EMBEDDING_NAME = "string_to_param", "emb_params"

# Bounds on notes; those beyond are left out.
_MAX_NOTES = 64
_MAX_NOTE = 4096
_MAX_ITEMS = 64

_CONTAINERS = (Mapping, Instance, list, tuple)


@dataclass(frozen=True, slots=True)
class _Place:
    """A value on the way, and the name that its place gives a tensor."""

    name: str
    value: object
    depth: int = 0
    has_name: bool = True  # no key on the way is one that cannot be part of a name


def named(root: object) -> dict[str, Tensor]:
    """Every tensor by its name; raises PickleMalformed when two would have the same, or numbers would be
    lost."""
    tensors: dict[str, Tensor] = {}
    pending = [_Place("", _unwrapped(root))]
    visits = letters = 0
    while pending:
        here = pending.pop()
        if not isinstance(here.value, _CONTAINERS):
            _keep(here, tensors)
            continue
        for key, child, is_name in _children(here.value):
            joined = f"{here.name}.{key}" if here.name else key
            visits += 1
            letters += len(joined) if joined.isascii() else 4 * len(joined)
            if visits > _MAX_VISITS or letters > _MAX_LETTERS or here.depth > _MAX_DEPTH:
                raise PickleMalformed("the pickle nests its values deeper or wider than a model does")
            if len(joined) > _MAX_NAME:
                raise PickleMalformed(f"a name has more than {_MAX_NAME} letters: {joined[:200]!r}")
            if child is LOST or isinstance(child, (Tensor, Storage, *_CONTAINERS)):
                pending.append(_Place(joined, child, here.depth + 1, here.has_name and is_name))
    return tensors


def _keep(found: _Place, tensors: dict[str, Tensor]) -> None:
    value, shown = found.value, found.name[:200]
    if value is LOST or isinstance(value, Storage):
        raise PickleMalformed(
            f"{shown!r} would be lost: it is an array of NumPy's, a set or a bare storage; "
            "only tensors can be converted"
        )
    if not isinstance(value, Tensor):
        return
    if not found.has_name:
        raise PickleMalformed(f"a tensor would be lost: a key on the way to it is no text: {shown!r}")
    if found.name in tensors or found.name in ("", "__metadata__"):
        raise PickleMalformed(f"a tensor has no name of its own: {shown!r}")
    if len(tensors) >= _MAX_TENSORS:
        raise PickleMalformed(f"the pickle holds more than {_MAX_TENSORS} tensors")
    tensors[found.name] = value


def notes(root: object) -> dict[str, str]:
    """The plain values beside the tensors: how a hypernetwork is built, how long an embedding was trained."""
    found: dict[str, str] = {}
    for key, value, is_name in islice(_children(root), _MAX_NOTES):
        if is_name and len(key) <= _MAX_NAME and _is_plain(value):
            text = value if isinstance(value, str) else json.dumps(value)
            if len(text) <= _MAX_NOTE:
                found[key] = text
    return found


def _unwrapped(root: object) -> object:
    top = _items(root)
    for wrapping in _WRAPPINGS:
        if isinstance(top.get(wrapping), Mapping):
            return top[wrapping]
    if _EMBEDDING in top:
        held = [value for _, value, _ in _children(top[_EMBEDDING]) if isinstance(value, Tensor)]
        if len(held) != 1:
            raise PickleMalformed(f"{_EMBEDDING} holds {len(held)} tensors; an embedding has one")
        return Mapping([(_EMBEDDING_NAME, held[0])])
    return root


def _items(value: object) -> dict[str, object]:
    """What a dictionary has under names; nothing of any other value."""
    if not isinstance(value, Mapping):
        return {}
    return {key: child for key, child, is_name in _children(value) if is_name}


def _children(value: object) -> Iterator[tuple[str, object, bool]]:
    """Each value within a value: its key in words, itself, and whether the key can be part of a name."""
    if isinstance(value, Instance):
        # A ParameterDict keeps its tensors in a dictionary of its own.
        value = _items(value.state).get("_parameters")
    if isinstance(value, Mapping):
        for key, child in value.pairs:
            # Trainers' notes have other keys.
            is_name = isinstance(key, str) or type(key) is int
            yield str(key) if is_name else _words(key), child, is_name
    elif isinstance(value, (list, tuple)):
        for index, child in enumerate(value):
            yield str(index), child, True


def _words(key: object) -> str:
    """For a message. Only flat values are written out: a stranger's deep one would end the process."""
    return repr(key)[:100] if _is_plain(key) else f"a {type(key).__name__}"


def _is_plain(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return (
            len(value) <= _MAX_ITEMS
            and not any(isinstance(item, (list, tuple)) for item in value)
            and all(map(_is_plain, value))
        )
    if isinstance(value, str):
        return len(value) <= _MAX_NOTE
    return value is None or isinstance(value, (int, float))
