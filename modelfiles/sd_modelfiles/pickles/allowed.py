"""The globals that a file of weights may name, and what each would have made.

An allow-list: whatever is not in it is refused by its name, because a global that is called runs code. None
of these is imported or called here; their effect is written down as `values`.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeGuard

from sd_modelfiles.header import BITS, MAX_DIMENSIONS
from sd_modelfiles.pickles.errors import PickleMalformed
from sd_modelfiles.pickles.values import LOST, OPAQUE, Instance, Mapping, Opaque, Storage, Symbol, Tensor

Name = tuple[str, str]
Arguments = tuple[object, ...]

_STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "ComplexFloatStorage": "C64",
}
_STORAGE_TYPES: dict[Name, str | None] = {
    **{(module, name): dtype for module in ("torch", "torch.cuda") for name, dtype in _STORAGES.items()},
    ("torch.storage", "UntypedStorage"): None,
}
_DTYPES: dict[Name, str] = {
    ("torch", name): dtype
    for name, dtype in {
        "float64": "F64",
        "float32": "F32",
        "float16": "F16",
        "bfloat16": "BF16",
        "int64": "I64",
        "int32": "I32",
        "int16": "I16",
        "int8": "I8",
        "uint64": "U64",
        "uint32": "U32",
        "uint16": "U16",
        "uint8": "U8",
        "bool": "BOOL",
        "complex64": "C64",
        "float8_e4m3fn": "F8_E4M3",
        "float8_e5m2": "F8_E5M2",
        "float8_e8m0fnu": "F8_E8M0",
    }.items()
}
# Named in files of weights but never called: types of tensors, and keys in what trainers wrote down.
_INERT: frozenset[Name] = frozenset(
    {
        ("torch", "Tensor"),
        ("numpy", "ndarray"),
        ("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint"),
    }
)
# Made without arguments and then given their state.
_CLASSES: frozenset[Name] = frozenset({("torch.nn.modules.container", "ParameterDict")})


def is_allowed(symbol: Symbol) -> bool:
    name = (symbol.module, symbol.name)
    return (
        name in _CALLS
        or name in _STORAGE_TYPES
        or name in _DTYPES
        or name in _INERT
        or name in _CLASSES
        or name == _FROM_TYPE
    )


def call(symbol: Symbol, arguments: Arguments) -> object:
    """What the call of an allowed global would have made."""
    name = (symbol.module, symbol.name)
    if name == _FROM_TYPE:
        # The function that makes a tensor, its type, the function's arguments, attributes of the tensor.
        function = arguments[0] if arguments else None
        if len(arguments) < 3 or not isinstance(function, Symbol) or not isinstance(arguments[2], tuple):
            raise PickleMalformed(f"{symbol.words} is called with other arguments than PyTorch's")
        symbol, arguments = function, arguments[2]
        name = (symbol.module, symbol.name)
    made = _CALLS.get(name)
    if made is None:
        raise PickleMalformed(f"{symbol.words} is called, which PyTorch does not do")
    try:
        return made(arguments)
    except (IndexError, TypeError, ValueError) as error:
        raise PickleMalformed(f"{symbol.words} is called with other arguments than PyTorch's") from error


def make(symbol: Symbol) -> Instance:
    """A new object of an allowed class."""
    if (symbol.module, symbol.name) not in _CLASSES:
        raise PickleMalformed(f"an object of {symbol.words} is made, which PyTorch does not do")
    return Instance(symbol)


def persistent(value: object) -> object:
    """The storage that a persistent id means, or the class: the old format wrote its source code along."""
    match value:
        case ("module", Symbol() | Opaque() as found, *_):
            return found
        case _:
            return _storage(value)


def _storage(value: object) -> Storage:
    match value:
        case ("storage", Symbol(module, name), str(key), _, int(count), *rest) if count >= 0:
            if (module, name) not in _STORAGE_TYPES:
                raise PickleMalformed(f"{module}.{name} is no type of storage that is known")
            dtype = _STORAGE_TYPES[module, name]
        case _:
            raise PickleMalformed("a persistent id is not a storage as PyTorch writes it")
    match rest:
        case [] | [None]:
            return Storage(key, dtype, count)
        # A part of another storage; early versions of PyTorch wrote those.
        case [(str(), int(base), int(size))] if 0 <= base <= base + size <= count:
            return Storage(key, dtype, size, base)
        case _:
            raise PickleMalformed(f"storage {key[:200]!r} is a part of another that it does not fit into")


def _tensor(arguments: Arguments) -> Tensor:
    """Storage, offset, shape, strides, whether it has a gradient, hooks, and bits that change its meaning."""
    found, offset, shape, strides = arguments[:4]
    metadata = arguments[6] if len(arguments) > 6 else None
    dtype = found.dtype if isinstance(found, Storage) else None
    return _checked(found, dtype, offset, shape, strides, metadata)


def _tensor_of_bytes(arguments: Arguments) -> Tensor:
    """As above, with the type of the elements, which the storage does not tell."""
    found, offset, shape, strides, _, _, symbol = arguments[:7]
    metadata = arguments[7] if len(arguments) > 7 else None
    dtype = _DTYPES.get((symbol.module, symbol.name)) if isinstance(symbol, Symbol) else None
    if dtype is None:
        raise PickleMalformed("a tensor's type of elements is none that safetensors has")
    if not isinstance(found, Storage) or found.dtype is not None:
        raise PickleMalformed("a tensor is no view of a storage of bytes")
    size = BITS[dtype] // 8
    if found.base % size:
        raise PickleMalformed(f"a tensor of {dtype} begins within an element of its storage")
    typed = Storage(found.key, dtype, found.count // size, found.base // size)
    return _checked(typed, dtype, offset, shape, strides, metadata)


def _checked(
    found: object, dtype: str | None, offset: object, shape: object, strides: object, metadata: object
) -> Tensor:
    if not isinstance(found, Storage) or dtype is None:
        raise PickleMalformed("a tensor is no view of a storage of numbers")
    if isinstance(metadata, Mapping) and metadata.pairs:
        raise PickleMalformed("a tensor is kept as a negative or a conjugate of what is stored")
    if not _is_natural(offset) or not _are_naturals(shape) or not _are_naturals(strides):
        raise PickleMalformed("a tensor's offset, shape or strides are no whole numbers")
    tensor = Tensor(found, dtype, offset, shape, strides)
    if len(shape) != len(strides) or len(shape) > MAX_DIMENSIONS:
        raise PickleMalformed(
            f"a tensor has {len(shape)} sides and {len(strides)} strides; "
            f"as many of both, and at most {MAX_DIMENSIONS}, are allowed"
        )
    # A view that repeats elements could fill any disk from a few bytes.
    if math.prod(shape) > found.count:
        raise PickleMalformed(f"a tensor of shape {shape[:8]} has more elements than its storage")
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    if 0 not in shape and last >= found.count:
        raise PickleMalformed(f"a tensor of shape {shape[:8]} reaches beyond the end of its storage")
    return tensor


def _is_natural(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 2**63


def _are_naturals(value: object) -> TypeGuard[tuple[int, ...]]:
    return isinstance(value, tuple) and len(value) <= 1000 and all(_is_natural(each) for each in value)


def _parameter(arguments: Arguments) -> object:
    if not isinstance(arguments[0], Tensor):
        raise PickleMalformed("a parameter holds no tensor")
    return arguments[0]


def _ordered(arguments: Arguments) -> Mapping:
    """An ordered dictionary, of nothing or (in old files) of a list of pairs."""
    if not arguments:
        return Mapping()
    match arguments:
        case (list(items),) if all(isinstance(item, (tuple, list)) and len(item) == 2 for item in items):
            return Mapping([(key, value) for key, value in items])
        case _:
            raise PickleMalformed("an ordered dictionary is made of something else than pairs")


def _opaque(arguments: Arguments) -> object:
    return OPAQUE


def _set(arguments: Arguments) -> object:
    """A set of the items of a list."""
    return made_of(arguments[0]) if arguments and isinstance(arguments[0], (list, tuple)) else OPAQUE


def made_of(items: Sequence[object]) -> Opaque:
    """What stands for a set of these."""
    return LOST if any(isinstance(item, Tensor) for item in items) else OPAQUE


def _array(arguments: Arguments) -> object:
    """An array of NumPy's without its numbers, which it is given as its state."""
    return LOST


_FROM_TYPE: Name = ("torch._tensor", "_rebuild_from_type_v2")
_CALLS: dict[Name, Callable[[Arguments], object]] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_of_bytes,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch.nn.parameter", "Parameter"): _parameter,
    ("torch", "Size"): lambda arguments: arguments[0],
    ("torch", "device"): _opaque,
    ("collections", "OrderedDict"): _ordered,
    # Of learning-rate schedules and other notes of trainers.
    ("collections", "Counter"): _opaque,
    **{(module, name): _set for module in ("builtins", "__builtin__") for name in ("set", "frozenset")},
    **{(f"numpy.{core}.multiarray", "scalar"): _opaque for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _array for core in ("core", "_core")},
    ("numpy", "dtype"): _opaque,
    # How Python 2's and old protocols' bytes are written.
    ("_codecs", "encode"): _opaque,
}
