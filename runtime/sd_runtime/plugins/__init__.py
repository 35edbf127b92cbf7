"""Plugins: preprocessors and upscalers in processes of their own, asked over Unix sockets.

What a plugin says is judged like what a client sends: it is bounded, read without running anything in it, and
refused with a sentence. Knows no HTTP server, no engine and none of A1111's words.
"""

from sd_runtime.plugins.archive import Grey, Pixels
from sd_runtime.plugins.catalog import Module, full_name
from sd_runtime.plugins.plugin import Bounds, RunResult
from sd_runtime.plugins.plugins import Plugins
from sd_runtime.plugins.states import (
    PREPROCESSOR,
    UPSCALER,
    Kind,
    Limits,
    ModuleState,
    Parameter,
    PluginState,
    Reason,
)

__all__ = [
    "PREPROCESSOR",
    "UPSCALER",
    "Bounds",
    "Grey",
    "Kind",
    "Limits",
    "Module",
    "ModuleState",
    "Parameter",
    "Pixels",
    "PluginState",
    "Plugins",
    "Reason",
    "RunResult",
    "full_name",
]
