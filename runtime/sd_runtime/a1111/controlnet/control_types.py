"""sd-webui-controlnet's control types: which modules and ControlNets belong to one, and which of them it
stands for where a client names none."""

from collections.abc import Sequence
from dataclasses import dataclass

from sd_modelfiles.family import Family
from sd_runtime.a1111.controlnet import networks, preprocessors
from sd_runtime.a1111.controlnet.networks import Network
from sd_runtime.a1111.controlnet.preprocessors import Preprocessor
from sd_runtime.errors import UnsupportedError

ALL = "All"
#: Each with the module it stands for, and what the names of its ControlNets have in them beside its own. The
#: types of networks that are not ControlNets (IP-Adapter, T2I-Adapter, Reference, …) are listed only where a
#: plugin has modules for one.
_TYPES: dict[str, tuple[str, tuple[str, ...]]] = {
    "Canny": ("canny", ()),
    "Depth": ("depth", ()),
    "Inpaint": ("inpaint_only", ()),
    "InstructP2P": ("none", ("ip2p",)),
    "Lineart": ("lineart_standard", ()),
    "MLSD": ("mlsd", ()),
    "NormalMap": ("normal_bae", ("normal",)),
    "OpenPose": ("openpose_full", ("densepose",)),
    "Recolor": ("recolor_luminance", ()),
    "Scribble": ("pidinet_scribble", ("sketch",)),
    "Segmentation": ("oneformer_ade20k", ("seg",)),
    "Shuffle": ("shuffle", ()),
    "SoftEdge": ("pidinet", ()),
    "Tile": ("tile_resample", ("blur",)),
}
#: Whose maps are pictures as they are.
_WITHOUT_MODULE = (ALL, "InstructP2P")
#: Modules that make no map of a photograph.
_OF_DRAWINGS = ("invert",)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlType:
    """One type with what belongs to it; the first module is "none", and "None" stands for no ControlNet."""

    name: str
    modules: tuple[Preprocessor, ...]
    networks: tuple[Network, ...]
    default_module: Preprocessor
    #: A title.
    default_network: str


def names(modules: Sequence[Preprocessor]) -> list[str]:
    """Every type: "All", then by name."""
    own = {kind for each in modules for kind in each.control_types}
    return [ALL, *sorted({*_TYPES, *own} - {ALL})]


def select(
    name: str, modules: Sequence[Preprocessor], known: Sequence[Network], family: Family | None
) -> ControlType:
    """What belongs to a type; the ControlNet it stands for is one for this family (None: any)."""
    if name == ALL:
        return ControlType(
            name=ALL,
            modules=tuple(modules),
            networks=tuple(known),
            default_module=preprocessors.NONE,
            default_network=networks.NONE,
        )
    own = [each for each in modules if name in each.control_types]
    fitting = tuple(each for each in known if _goes_with(each, name, own))
    return ControlType(
        name=name,
        modules=(preprocessors.NONE, *own),
        networks=fitting,
        default_module=_default(name, own),
        default_network=networks.preferred(fitting, family),
    )


def demand_module(field: str, chosen: ControlType) -> Preprocessor:
    """The module that the type stands for; raises `UnsupportedError` where there is none that would make its
    maps."""
    if chosen.default_module is preprocessors.NONE and chosen.name not in _WITHOUT_MODULE:
        allowed = "types that a module of this server belongs to, or a module named beside it"
        raise UnsupportedError(field, chosen.name, allowed)
    return chosen.default_module


def find(field: str, name: str, modules: Sequence[Preprocessor]) -> str:
    """The type that a field names, in any case; raises `UnsupportedError` with those there are."""
    wanted = name.strip().lower()
    for each in names(modules):
        if each.lower() == wanted:
            return each
    raise UnsupportedError(field, name, names(modules))


def _goes_with(network: Network, name: str, modules: Sequence[Preprocessor]) -> bool:
    _, further = _TYPES.get(name, ("", ()))
    # Of a module of several types no one knows which of its ControlNets is whose.
    own = (part for each in modules if len(each.control_types) == 1 for part in each.matches)
    parts = (name, *further, *own)
    title = network.title.lower()
    return any(part.lower() in title for part in parts)


def _default(name: str, modules: Sequence[Preprocessor]) -> Preprocessor:
    """The usual one where it can be used, else the first that can; the usual one again where none can, so
    that who asks for the type hears why."""
    name_of_usual, _ = _TYPES.get(name, ("", ()))
    usual = next((each for each in modules if name_of_usual in (each.name, *each.aliases)), None)
    usable = [each for each in modules if each.is_available and each.name not in _OF_DRAWINGS]
    return usual if usual in usable else next(iter(usable), usual or preprocessors.NONE)
