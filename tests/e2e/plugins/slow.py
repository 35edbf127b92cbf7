"""A plugin with time to be killed in, and one module that never ends."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sd_plugin.contract import Limits, ModuleDescription
from sd_plugin.module import FunctionModule, Pixels, Plugin

#: Long enough for a test to find the worker, short enough for it to wait.
SECONDS = 15.0
#: There from when a slow run has begun.
BEGUN = Path("/tmp/begun")


def _quick(image: Pixels, parameters: Mapping[str, float]) -> Pixels:
    return np.asarray(255 - image)


def _slow(image: Pixels, parameters: Mapping[str, float]) -> Pixels:
    BEGUN.touch()
    time.sleep(SECONDS - 2)
    return image


def _endless(image: Pixels, parameters: Mapping[str, float]) -> Pixels:
    while True:
        time.sleep(1)


def plugin() -> Plugin:
    calls = {"e2e_quick": _quick, "e2e_slow": _slow, "e2e_endless": _endless}
    return Plugin(
        name="slow",
        version="1",
        kind="Preprocessor",
        modules=[
            FunctionModule(ModuleDescription(name=name, label=name), call) for name, call in calls.items()
        ],
        limits=Limits(pixels=1 << 24, seconds=SECONDS),
    )
