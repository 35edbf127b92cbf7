"""What there is for units to name, in the shapes of sd-webui-controlnet's lists. Nothing is loaded."""

from sd_modelfiles.family import Family
from sd_runtime.a1111.controlnet import control_types as types
from sd_runtime.a1111.controlnet import networks, preprocessors
from sd_runtime.a1111.schemas.controlnet import (
    ControlTypeItem,
    ControlTypes,
    ModelList,
    ModuleDetail,
    ModuleList,
    Slider,
)
from sd_runtime.models.library import Library
from sd_runtime.plugins import Plugins

#: Of the interface.
VERSION = 3


def model_list(library: Library) -> ModelList:
    """Every ControlNet."""
    return ModelList(model_list=networks.names(library))


def module_list(plugins: Plugins, *, by_label: bool) -> ModuleList:
    """Every module, by its name or by its label; also those that are not available now, which a unit that
    names one is told."""
    named = {each.label if by_label else each.name: each for each in preprocessors.all_of(plugins)}
    detail = {
        name: ModuleDetail(
            model_free=False,
            sliders=[Slider.model_validate(slider) for slider in preprocessors.sliders(each)],
        )
        for name, each in named.items()
    }
    return ModuleList(module_list=list(named), module_detail=detail)


def control_types(library: Library, plugins: Plugins, family: Family | None) -> ControlTypes:
    """Every control type; `family` is that of the served checkpoint, as far as it is known."""
    modules, known = preprocessors.all_of(plugins), networks.usable(library)
    found = {}
    for name in types.names(modules):
        chosen = types.select(name, modules, known, family)
        found[name] = ControlTypeItem(
            module_list=[each.label for each in chosen.modules],
            model_list=[networks.NONE, *(each.title for each in chosen.networks)],
            default_option=chosen.default_module.label,
            default_model=chosen.default_network,
        )
    return ControlTypes(control_types=found)
