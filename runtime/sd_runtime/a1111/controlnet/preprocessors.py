"""The modules of ControlNet: those of plugins, and the few that need none, by sd-webui-controlnet's names.

Runs nothing: which module is meant, whether it can be used, and with which numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sd_runtime.a1111 import stock
from sd_runtime.errors import PluginUnavailable, UnsupportedError
from sd_runtime.images.resizing import Size
from sd_runtime.plugins import PREPROCESSOR, Module, Parameter, Plugins, sizes

RESOLUTION = "resolution"
#: Which a client sets by the names threshold_a and threshold_b, in their order.
THRESHOLDS = ("threshold_a", "threshold_b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessor:
    """One module; `plugin` is None of those that are built in."""

    #: As lists, requests and infotext call it.
    name: str
    label: str
    #: Further names that requests may use.
    aliases: tuple[str, ...] = ()
    control_types: tuple[str, ...] = ()
    #: Parts of the names of ControlNet files that it goes with.
    matches: tuple[str, ...] = ()
    takes_mask: bool = False
    parameters: tuple[Parameter, ...] = ()
    plugin: Module | None = None

    @property
    def is_available(self) -> bool:
        """Whether it can be used now."""
        return self.plugin is None or self.plugin.state.available

    @property
    def is_inpainting(self) -> bool:
        """Whether the ControlNet is shown the picture itself but for what is masked."""
        return self in (INPAINT, INPAINT_ONLY)

    @property
    def resolution(self) -> Parameter | None:
        """What processor_res sets."""
        return next((each for each in self.parameters if each.name == RESOLUTION), None)

    @property
    def thresholds(self) -> tuple[Parameter, ...]:
        """What threshold_a and threshold_b set, in this order."""
        return tuple(each for each in self.parameters if each.name != RESOLUTION)


NONE = Preprocessor(name="none", label="none")
INPAINT = Preprocessor(
    name="inpaint",
    label="inpaint_global_harmonious",
    control_types=("Inpaint",),
    matches=("inpaint",),
    takes_mask=True,
)
INPAINT_ONLY = Preprocessor(
    name="inpaint_only",
    label="inpaint_only",
    control_types=("Inpaint",),
    matches=("inpaint",),
    takes_mask=True,
)
BUILT_IN = (NONE, INPAINT_ONLY, INPAINT)


def all_of(plugins: Plugins) -> list[Preprocessor]:
    """Every module, also those that are not available: first the built-in ones, then plugin by plugin."""
    offered = plugins.modules(PREPROCESSOR)
    taken = {each.name for each in BUILT_IN}
    return [*BUILT_IN, *(_of(name, each) for name, each in offered.items() if name not in taken)]


def find(plugins: Plugins, field: str, name: str) -> Preprocessor:
    """The module that a field names, by its name, its label or an alias, in any case; raises
    `UnsupportedError` with the names there are."""
    wanted = name.strip().lower() or NONE.name
    for each in BUILT_IN:
        if wanted in (each.name, each.label):
            return each
    found = plugins.find(PREPROCESSOR, name.strip())
    if found is None:
        names = stock.some(each.name for each in all_of(plugins))
        raise UnsupportedError(field, name, f"modules of this server: {names}")
    offered = plugins.modules(PREPROCESSOR).items()
    return _of(next((name for name, each in offered if each == found), found.state.name), found)


def demand_available(preprocessor: Preprocessor) -> None:
    """Raises `PluginUnavailable` for a module that cannot be used now."""
    module = preprocessor.plugin
    if module is not None and not module.state.available:
        raise PluginUnavailable(
            f"plugin {module.plugin}: module {module.state.name} is not available: {module.state.reason}"
        )


def numbers(
    preprocessor: Preprocessor, *, resolution: float, thresholds: tuple[float, ...]
) -> dict[str, float]:
    """The module's parameters by their names; one that is out of its range is the default
    (sd-webui-controlnet's rule, which is what makes -1 mean it)."""
    asked: list[tuple[Parameter, float]] = list(zip(preprocessor.thresholds, thresholds, strict=False))
    if preprocessor.resolution is not None:
        asked.insert(0, (preprocessor.resolution, resolution))
    return {parameter.name: _number(parameter, value) for parameter, value in asked}


def pixels_of(preprocessor: Preprocessor, parameters: Mapping[str, float], size: Size) -> int:
    """How many the map of a picture of this size will have at most, by the contract with plugins."""
    if preprocessor.plugin is None:
        return size[0] * size[1]
    return sizes.most_pixels(preprocessor.plugin.state, parameters, size)


def judge_size(
    plugins: Plugins, preprocessor: Preprocessor, parameters: Mapping[str, float], size: Size, field: str
) -> None:
    """Raises `UnsupportedError` about `field`, which names the picture, where one of this size is more than
    the module takes, or its map more than is accepted."""
    if preprocessor.plugin is not None:
        plugins.judge_size(preprocessor.plugin, size, parameters, field=field)


def within(parameter: Parameter, value: float) -> float:
    """The nearest value that the parameter takes."""
    return _typed(parameter, min(max(value, parameter.minimum), parameter.maximum))


def sliders(preprocessor: Preprocessor) -> list[Mapping[str, str | float]]:
    """The module's parameters as lists tell them: resolution first, then the thresholds."""
    fields = [("processor_res", preprocessor.resolution)] if preprocessor.resolution else []
    fields += zip(THRESHOLDS, preprocessor.thresholds, strict=False)
    return [
        {
            "name": each.label,
            "field": field,
            "value": _typed(each, each.default),
            "min": _typed(each, each.minimum),
            "max": _typed(each, each.maximum),
            "step": _typed(each, each.step),
        }
        for field, each in fields
    ]


def _number(parameter: Parameter, value: float) -> float:
    in_range = parameter.minimum <= value <= parameter.maximum
    return _typed(parameter, value if in_range else parameter.default)


def _typed(parameter: Parameter, value: float) -> float:
    return round(value) if parameter.type == "integer" else float(value)


def _of(name: str, module: Module) -> Preprocessor:
    state = module.state
    return Preprocessor(
        name=name,
        label=state.label if name == state.name else name,
        aliases=state.aliases,
        control_types=state.control_types,
        matches=state.matches,
        takes_mask=state.mask,
        parameters=state.parameters,
        plugin=module,
    )
