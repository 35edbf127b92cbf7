"""What the settings say of a plugin's modules, in place of the plugin's own words. Pure."""

from collections.abc import Iterable
from dataclasses import replace

from sd_runtime.plugins.states import ModuleState
from sd_runtime.settings import WantedModule


def overridden(
    modules: Iterable[ModuleState], wanted: Iterable[WantedModule], missing: str
) -> tuple[tuple[ModuleState, ...], tuple[str, ...]]:
    """The modules as the settings want them told, and the names in the settings that lead to none. Those are
    listed as not available, with `missing` as the reason: who asks for one by its name hears why."""
    told, lost = list(modules), []
    count = len(told)
    for each in wanted:
        place = _place(told[:count], each.name)
        if place is None:
            lost.append(each.name)
            told.append(absent(each, missing))
        else:
            told[place] = _with(told[place], each)
    return tuple(told), tuple(lost)


def absent(module: WantedModule, reason: str) -> ModuleState:
    """A module of which no plugin has said anything."""
    return ModuleState(
        name=module.name,
        label=module.name,
        control_types=(module.control_type,) if module.control_type else (),
        matches=module.matches or (),
        available=False,
        reason=reason,
    )


def _place(modules: list[ModuleState], name: str) -> int | None:
    """Where the module of this name is, else the first that has it as an alias: as clients' names lead."""
    for place, module in enumerate(modules):
        if module.name == name:
            return place
    for place, module in enumerate(modules):
        if name in (alias.casefold() for alias in module.aliases):
            return place
    return None


def _with(module: ModuleState, wanted: WantedModule) -> ModuleState:
    return replace(
        module,
        control_types=module.control_types if wanted.control_type is None else (wanted.control_type,),
        matches=module.matches if wanted.matches is None else wanted.matches,
    )
