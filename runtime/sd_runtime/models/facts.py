"""What a model file's header tells: the family that it is for, the widths that it must share with others, and
what its trainer noted. Looked into once while the file stays the same.

Headers alone are read, of pickles their description of what they hold. Importable without torch; what cannot
be read tells nothing here, and its fault is `faults`' to tell.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sd_modelfiles import describe, family, header, kinds, pickles
from sd_modelfiles.family import Family
from sd_modelfiles.header import Header
from sd_modelfiles.kinds import TEXT_PREFIXES, UNET_PREFIX, ModelType
from sd_runtime.models import notes
from sd_runtime.models.digests import FileKey, key_of
from sd_runtime.models.notes import Notes

_SAFETENSORS = ".safetensors"
_KEPT = 16_384


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a file."""

    #: As its tensors show it; what a trainer noted is no proof.
    shown: Family | None = None
    #: The same, or else as its trainer noted it.
    family: Family | None = None
    #: The kind within the type: "LoHa", "inpainting".
    variant: str | None = None
    #: Of a checkpoint what its attentions read, of a hypernetwork what it changes.
    attention_widths: frozenset[int] = frozenset()
    #: Of a checkpoint: of a token's vector in each text encoder.
    text_widths: tuple[int, ...] = ()
    notes: Notes = notes.NOTHING
    #: Why a pickle cannot be read.
    fault: str | None = None


NOTHING = Facts()


def of(path: Path) -> Facts:
    """The facts of a file; nothing of a folder, and of what cannot be read."""
    try:
        key = key_of(path.stat())
    except OSError:
        return NOTHING
    return _look_into(path, key)


@lru_cache(maxsize=_KEPT)
def _look_into(path: Path, _key: FileKey) -> Facts:
    if not path.is_file():
        return NOTHING
    try:
        head = _header(path)
    except (OSError, header.HeaderError):
        return NOTHING
    except (pickles.PickleMalformed, pickles.PickleUnsafe) as error:
        return Facts(fault=str(error))
    return _told(head)


def _header(path: Path) -> Header:
    if path.suffix.lower() == _SAFETENSORS:
        return header.read(path)
    return pickles.inspect(path).header


def _told(head: Header) -> Facts:
    told = describe.describe(head)
    is_checkpoint = told.type is ModelType.CHECKPOINT
    return Facts(
        shown=family.shown(head, told.type).family,
        family=told.family,
        variant=told.variant,
        attention_widths=_attention_widths(head)
        if is_checkpoint
        else frozenset(kinds.hypernetwork_widths(head)),
        text_widths=_text_widths(head) if is_checkpoint else (),
        notes=notes.within(head.metadata),
    )


def _attention_widths(head: Header) -> frozenset[int]:
    return frozenset(
        tensor.shape[1]
        for name, tensor in head.tensors.items()
        if name.startswith(UNET_PREFIX) and name.endswith(".to_k.weight") and len(tensor.shape) == 2
    )


def _text_widths(head: Header) -> tuple[int, ...]:
    """In the order of the encoders, whose numbers are in their names."""
    tables = sorted(
        name
        for name in head.tensors
        if name.startswith(TEXT_PREFIXES) and name.endswith("token_embedding.weight")
    )
    return tuple(head.tensors[name].shape[-1] for name in tables if head.tensors[name].shape)
