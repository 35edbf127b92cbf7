"""What is real: the sockets, the HTTP and the archives. What is not: the plugins behind them."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sd_runtime.plugins import Module, Plugins, PluginState
from sd_runtime.plugins.plugin import Plugin
from sd_runtime.settings import WantedPlugin
from tests.unit.runtime.plugins import misbehaving


class Side:
    """This runtime's side: its plugins, each polled when the test says so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plugins = Plugins()
        self._behind: list[misbehaving.Plugin] = []
        self.counted: list[tuple[str, str, str]] = []

    def has(self, *behind: misbehaving.Plugin, seconds: float = 5.0, **options: Any) -> Plugins:
        """The plugins, named in the settings and polled once."""
        self._behind += behind
        wanted = [WantedPlugin(name=each.name, kind=each.described["kind"]) for each in behind]
        return self.wants(wanted, seconds=seconds, **options)

    def wants(self, wanted: Any, **options: Any) -> Plugins:
        self.plugins.close()
        self.plugins = Plugins(self.folder, wanted, observer=self, **options)
        self.poll()
        return self.plugins

    def poll(self) -> None:
        for plugin in self.plugins._plugins.values():
            plugin.poll()

    def made(self, form: Callable[..., misbehaving.Plugin], /, *given: Any, **described: Any) -> Any:
        plugin = form(self.folder, *given, **described)
        self._behind.append(plugin)
        return plugin.listen()

    @property
    def state(self) -> PluginState:
        (state,) = self.plugins.states()
        return state

    @property
    def one(self) -> Plugin:
        (plugin,) = self.plugins._plugins.values()
        return plugin

    def module(self, name: str = "invert", kind: Any = "Preprocessor") -> Module:
        found = self.plugins.find(kind, name)
        assert found is not None
        return found

    def plugin_ran(self, *, plugin: str, module: str, outcome: str, seconds: float) -> None:
        self.counted.append((plugin, module, outcome))

    def close(self) -> None:
        self.plugins.close()
        for each in self._behind:
            each.stop()


@pytest.fixture
def side(tmp_path: Path) -> Iterator[Side]:
    made = Side(tmp_path)
    yield made
    made.close()


@pytest.fixture
def picture() -> Any:
    return np.random.default_rng(1).integers(0, 256, (6, 9, 3), dtype=np.uint8)


@pytest.fixture
def until() -> Callable[[Callable[[], object]], Any]:
    async def wait(happened: Callable[[], object]) -> None:
        end = time.monotonic() + 10
        while not happened():
            assert time.monotonic() < end, "it did not happen"
            await asyncio.sleep(0.01)

    return wait
