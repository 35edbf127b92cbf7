"""What the tensors of a pickle are called, and the notes beside them.

A safetensors file has names and no nesting: the keys on the way to a tensor are joined by ".", as a module's
parameters are. What programs wrap their weights in is taken off first, so that a converted file has the names
that readers of safetensors files look for. Knows nothing of types of models but those wrappings.
"""

import json
from collections.abc import Iterator
from itertools import islice

from sd_modelfiles.pickles.errors import PickleMalformed
from sd_modelfiles.pickles.values import Instance, Mapping, Tensor

# A container that is met on many ways to a tensor is walked through on each.
_MAX_VISITS = 200_000
_MAX_LETTERS = 8 * 1024 * 1024
_MAX_DEPTH = 32
_MAX_NAME = 1024

# Trainers' and upscalers' wrappings, of which smoothed weights are the better ones.
_WRAPPINGS = ("state_dict", "params_ema", "params-ema", "params")
# A1111's embeddings: one tensor, under any name.
_EMBEDDING, _EMBEDDING_NAME = "string_to_param", "emb_params"

# Bounds on notes; those beyond are left out.
_MAX_NOTES = 64
_MAX_NOTE = 4096
_MAX_ITEMS = 64


def named(root: object) -> dict[str, Tensor]:
    """Every tensor by its name; raises PickleMalformed when two would have the same."""
    tensors: dict[str, Tensor] = {}
    pending = [("", _unwrapped(root), 0)]
    visits = letters = 0
    while pending:
        name, value, depth = pending.pop()
        if isinstance(value, Tensor):
            if name in tensors or name in ("", "__metadata__"):
                raise PickleMalformed(f"a tensor has no name of its own: {name[:200]!r}")
            tensors[name] = value
            continue
        for key, child in _children(value):
            visits += 1
            joined = f"{name}.{key}" if name else key
            letters += len(joined)
            if visits > _MAX_VISITS or letters > _MAX_LETTERS or depth > _MAX_DEPTH:
                raise PickleMalformed("the pickle nests its values deeper or wider than a model does")
            if len(joined) > _MAX_NAME:
                raise PickleMalformed(f"a name has more than {_MAX_NAME} letters: {joined[:200]!r}")
            pending.append((joined, child, depth + 1))
    return tensors


def notes(root: object) -> dict[str, str]:
    """The plain values beside the tensors: how a hypernetwork is built, how long an embedding was trained."""
    found: dict[str, str] = {}
    for key, value in islice(_children(root), _MAX_NOTES):
        if len(key) <= _MAX_NAME and _is_plain(value):
            found[key] = value if isinstance(value, str) else json.dumps(value)
    return found


def _unwrapped(root: object) -> object:
    top = dict(_children(root)) if isinstance(root, Mapping) else {}
    for wrapping in _WRAPPINGS:
        if isinstance(top.get(wrapping), Mapping):
            return top[wrapping]
    if _EMBEDDING in top:
        held = [value for _, value in _children(top[_EMBEDDING]) if isinstance(value, Tensor)]
        if len(held) != 1:
            raise PickleMalformed(f"{_EMBEDDING} holds {len(held)} tensors; an embedding has one")
        return Mapping([(_EMBEDDING_NAME, held[0])])
    return root


def _children(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Instance):
        # A ParameterDict keeps its tensors in a dictionary of its own.
        held = dict(_children(value.state)) if isinstance(value.state, Mapping) else {}
        value = held.get("_parameters")
    if isinstance(value, Mapping):
        for key, child in value.pairs:
            # A tensor under any other key has no name; trainers' notes have such keys.
            if isinstance(key, str) or type(key) is int:
                yield str(key), child
    elif isinstance(value, (list, tuple)):
        for index, child in enumerate(value):
            yield str(index), child


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
