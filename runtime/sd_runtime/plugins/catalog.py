"""Which name leads to which module, where several plugins have one of the same name. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from sd_runtime.plugins.states import Kind, ModuleState, PluginState


class Module(NamedTuple):
    """A module and the name of its plugin."""

    plugin: str
    state: ModuleState


@dataclass(frozen=True, slots=True)
class Shadowed:
    """A module whose name leads to another plugin's."""

    module: Module
    #: The plugin that has the name.
    by: str

    def __str__(self) -> str:
        name = self.module.state.name
        return f"the name {name} leads to the module of {self.by}; this one is {full_name(self.module)}"


def full_name(module: Module) -> str:
    """The name that leads to this module whatever others are called."""
    return f"{module.plugin}/{module.state.name}"


class Catalog:
    """The modules of plugins; of two with one name that of the earlier plugin has it."""

    def __init__(self, states: Iterable[PluginState]) -> None:
        self._by_kind: dict[Kind, dict[str, Module]] = {}
        self.shadowed: list[Shadowed] = []
        for state in states:
            if state.kind is not None:
                self._add(state, self._by_kind.setdefault(state.kind, {}))

    def modules(self, kind: Kind) -> Mapping[str, Module]:
        """By the name that leads to each: its own, or "<plugin>/<module>"."""
        return self._by_kind.get(kind, {})

    def find(self, kind: Kind, name: str) -> Module | None:
        """By name, full name, alias or label, in this order, whatever the case."""
        modules, wanted = self.modules(kind), name.strip().casefold()
        if wanted in modules:
            return modules[wanted]
        for names in (_full, _aliases, _label):
            for module in modules.values():
                if wanted in (each.casefold() for each in names(module)):
                    return module
        return None

    def told(self, states: Iterable[PluginState]) -> tuple[PluginState, ...]:
        """The states, with a word about names that lead to others."""
        return tuple(self._told(state) for state in states)

    def _told(self, state: PluginState) -> PluginState:
        own = [str(each) for each in self.shadowed if each.module.plugin == state.name]
        return replace(state, message="; ".join(filter(None, (state.message, *own)))) if own else state

    def _add(self, state: PluginState, modules: dict[str, Module]) -> None:
        for each in state.modules:
            module = Module(state.name, each)
            holder = modules.setdefault(each.name, module)
            if holder is not module:
                modules[full_name(module)] = module
                self.shadowed.append(Shadowed(module, holder.plugin))


def _full(module: Module) -> tuple[str, ...]:
    return (full_name(module),)


def _aliases(module: Module) -> tuple[str, ...]:
    return module.state.aliases


def _label(module: Module) -> tuple[str, ...]:
    return (module.state.label,)
