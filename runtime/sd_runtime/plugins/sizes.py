"""How large what a module makes of a picture is, as the contract demands it: known before it runs, and judged
when it has. Sizes are (width, height), in pixels. Pure."""

from collections.abc import Mapping

from sd_runtime.plugins.description import RESOLUTION
from sd_runtime.plugins.faults import BrokenContract
from sd_runtime.plugins.states import ModuleState

Size = tuple[int, int]

#: A resolution between two whole numbers may be rounded either way.
_ROUNDED = 0.5


def most_pixels(module: ModuleState, parameters: Mapping[str, float], size: Size) -> int:
    """The most that what the module makes of a picture of this size has: of a module that does not work at a
    resolution and enlarges nothing, as many as the picture."""
    width, height = size
    resolution = _resolution(module, parameters)
    scale = module.factor or (1.0 if resolution is None else resolution / min(size))
    return round(width * height * scale**2)


def demand(module: ModuleState, parameters: Mapping[str, float], given: Size, made: Size) -> None:
    """Raises `BrokenContract` unless what the module made of a picture of the size `given` is as large as the
    contract says."""
    told = f"it makes {made[0]}x{made[1]} of a picture of {given[0]}x{given[1]}"
    if module.factor is not None:
        due = (given[0] * module.factor, given[1] * module.factor)
        if made != due:
            raise BrokenContract(f"{told}; with factor {module.factor} it must be {due[0]}x{due[1]}")
        return
    resolution = _resolution(module, parameters)
    if resolution is None:
        if made[0] > given[0] or made[1] > given[1]:
            raise BrokenContract(f"{told}; a map without a {RESOLUTION} must not be larger than the picture")
    elif abs(min(made) - resolution) > _ROUNDED:
        raise BrokenContract(f"{told}; its shorter side must be {resolution:g}, the {RESOLUTION}")
    if not _keeps_proportions(given, made, is_rounded=resolution is None):
        raise BrokenContract(f"{told}; it must keep the proportions")


def _keeps_proportions(given: Size, made: Size, *, is_rounded: bool) -> bool:
    """Whether the longer side follows the shorter one to a pixel; `is_rounded`: that one is off as far."""
    across, down = made if given[0] <= given[1] else made[::-1]
    ratio = max(given) / min(given)
    return abs(down - across * ratio) <= (1 + ratio if is_rounded else 1)


def _resolution(module: ModuleState, parameters: Mapping[str, float]) -> float | None:
    own = next((each for each in module.parameters if each.name == RESOLUTION), None)
    return None if own is None else parameters.get(RESOLUTION, own.default)
