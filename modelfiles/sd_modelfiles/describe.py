"""What a file's header says of it, and whether that contradicts what was asked for.

The type and the family come from the tensors alone; what a trainer wrote beside them is a hint that fills a
gap and contradicts nobody. Knows nothing of where the header comes from.
"""

from dataclasses import dataclass, replace

from sd_modelfiles import controlnet, family, kinds, lora, upscaler
from sd_modelfiles.family import Family, FamilyUnknown
from sd_modelfiles.header import Header
from sd_modelfiles.kinds import UNET_PREFIX, ModelType

AUTO = "Auto"

# Networks without a layout of their own; for them a file that looks like nothing else is taken at its word.
_UNTOLD = (ModelType.UPSCALER, ModelType.ANNOTATOR)


class Contradicted(Exception):
    """The file is not what was asked for; the message says what it is and what to do."""


class TypeContradicted(Contradicted):
    """The tensors are those of another type of model, or of none that is known."""


class FamilyContradicted(Contradicted):
    """The tensors are those of another family, or a checkpoint's show none."""


@dataclass(frozen=True, slots=True)
class Description:
    type: ModelType | None
    family: Family | None
    rank: int | None  # of a LoRA or Control-LoRA
    variant: str | None  # the kind within the type, for people: "LoHa", "inpainting", "ESRGAN"


def describe(header: Header) -> Description:
    """What the file is, as far as its header says."""
    found = kinds.recognise(header)
    known = family.shown(header, found)
    told = known.family
    if told is None and known.other is None and found is not None:
        told = family.hinted(header)
    return Description(found, told, _rank(header, found), known.other or _variant(header, found))


def judge(header: Header, *, wanted_type: ModelType, wanted_family: str) -> Description:
    """What the file is; raises a `Contradicted` when that is not the wanted type and family.

    `wanted_family` is "Auto" or a Family. A family that the tensors do not show contradicts only where it
    must be known: a checkpoint cannot be loaded without.
    """
    found = describe(header)
    if found.type is None and wanted_type in _UNTOLD:
        return replace(found, type=wanted_type)
    _check_type(header, found, wanted_type)
    if wanted_type is ModelType.CHECKPOINT:
        try:
            known = family.Shown(family.detect(header))
        except FamilyUnknown as error:
            raise FamilyContradicted(
                f"the family of the checkpoint cannot be told: {error}; give a checkpoint of "
                f"{', '.join(Family)}"
            ) from error
    else:
        known = family.shown(header, wanted_type)
    _check_family(known, wanted_type, wanted_family)
    # A hint that says otherwise is no more than that.
    return found if wanted_family in (AUTO, found.family) else replace(found, family=None)


def _check_type(header: Header, found: Description, wanted: ModelType) -> None:
    if found.type is not wanted:
        raise TypeContradicted(
            f"type {wanted} was asked for, but by its tensors the file is {_words(header, found)}; "
            "correct the type, or give a file of that type"
        )
    missing = kinds.missing_parts(header) if wanted is ModelType.CHECKPOINT else ()
    if missing:
        raise TypeContradicted(
            f"the checkpoint lacks {' and '.join(missing)}; give a single-file checkpoint with all its parts"
        )


def _check_family(known: family.Shown, wanted_type: ModelType, wanted: str) -> None:
    if known.other is not None:
        raise FamilyContradicted(
            f"by its tensors the {wanted_type} belongs to {known.other}; give one of {', '.join(Family)}"
        )
    if known.family is not None and wanted not in (AUTO, known.family):
        raise FamilyContradicted(
            f"family {wanted} was asked for, but by its tensors the {wanted_type} is of {known.family}; "
            "correct the family, or give a file of that family"
        )


def _words(header: Header, found: Description) -> str:
    if found.type is not None:
        kind = f" ({found.variant})" if found.variant not in (None, found.type) else ""
        return f"{'an' if found.type is ModelType.UPSCALER else 'a'} {found.type}{kind}"
    names = header.tensors.keys()
    if not names:
        return "empty: it has no tensor"
    if any(name.startswith(("down_blocks.", "double_blocks.", "joint_blocks.")) for name in names):
        return "a diffusion network alone, without autoencoder and text encoder"
    if any(name.startswith(("text_model.", "model.layers.", "transformer.h.")) for name in names):
        return "a text model"
    return f"of no type of model file that is known (its first tensor is {min(names)[:100]!r})"


def _rank(header: Header, found: ModelType | None) -> int | None:
    if found is ModelType.LORA:
        return lora.rank(header)
    return controlnet.rank(header) if found is ModelType.CONTROLNET else None


def _variant(header: Header, found: ModelType | None) -> str | None:
    match found:
        case ModelType.LORA:
            return lora.variant(header)
        case ModelType.CONTROLNET:
            return controlnet.variant(header)
        case ModelType.UPSCALER:
            return upscaler.variant(header)
        case ModelType.CHECKPOINT:
            return _checkpoint_variant(header)
        case _:
            return None


def _checkpoint_variant(header: Header) -> str | None:
    """By the channels that the U-Net takes: beside a picture's 4 those of a mask, a picture or a depth."""
    first = header.tensors.get(f"{UNET_PREFIX}input_blocks.0.0.weight")
    if first is not None and len(first.shape) == 4:
        channels = {9: "inpainting", 8: "instruct-pix2pix", 5: "depth"}.get(first.shape[1])
        if channels is not None:
            return channels
    return "v-prediction" if "v_pred" in header.tensors else None
