"""The plugins as something to choose modules from: what requests call each module, and why one cannot be used
now."""

from pydantic import BaseModel

from sd_runtime.a1111 import upscalers
from sd_runtime.models.library import Library
from sd_runtime.plugins import PREPROCESSOR, UPSCALER, Module, ModuleState, Plugins, PluginState


class PluginModuleItem(BaseModel):
    """A module; `name` is what requests call it."""

    name: str
    label: str
    available: bool
    #: Why it cannot be used now; "" where it can.
    reason: str


class PluginItem(BaseModel):
    """A plugin as it answered last; its modules stay known while it does not."""

    name: str
    #: Preprocessor or Upscaler; null until it is known.
    kind: str | None
    ready: bool
    #: Why it is not ready, in a word; "" where it is.
    reason: str
    message: str
    modules: list[PluginModuleItem]


class PluginsResponse(BaseModel):
    """Every plugin."""

    plugins: list[PluginItem]


def plugins(known: Plugins, library: Library) -> PluginsResponse:
    """Every plugin, in the order in which names are theirs."""
    preprocessors = {module: name for name, module in known.modules(PREPROCESSOR).items()}

    def name_of(plugin: PluginState, state: ModuleState) -> str:
        module = Module(plugin.name, state)
        if plugin.kind == UPSCALER:
            return upscalers.name_of_module(library, known, module)
        return preprocessors.get(module, state.name)

    return PluginsResponse(
        plugins=[
            PluginItem(
                name=each.name,
                kind=each.kind,
                ready=each.ready,
                reason=each.reason.value,
                message=each.message,
                modules=[
                    PluginModuleItem(
                        name=name_of(each, state),
                        label=state.label,
                        available=state.available,
                        reason=state.reason,
                    )
                    for state in each.modules
                ],
            )
            for each in known.states()
        ]
    )
