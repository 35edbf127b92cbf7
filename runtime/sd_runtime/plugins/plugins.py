"""The plugins of this process: what they offer, by name, and having them do it."""

import asyncio
import logging
import re
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol

from sd_runtime.errors import PluginError, PluginUnavailable, UnsupportedError
from sd_runtime.plugins.archive import Grey, Pixels
from sd_runtime.plugins.catalog import Catalog, Module, full_name
from sd_runtime.plugins.plugin import Bounds, Plugin, Run, RunResult
from sd_runtime.plugins.sizes import Size
from sd_runtime.plugins.states import Kind, PluginState
from sd_runtime.settings import PLUGIN_NAME, WantedPlugin

logger = logging.getLogger(__name__)

_SUFFIX = ".sock"
#: Between two looks for new sockets, where nobody has said which there are.
_LOOK_SECONDS = 1.0
_MOST_PLUGINS = 32
#: One waits for its poll while others hang, which they do for two seconds.
_POLLING_THREADS = 8
_NAME = re.compile(PLUGIN_NAME)


class Observer(Protocol):
    """Who counts."""

    def plugin_ran(self, *, plugin: str, module: str, outcome: str, seconds: float) -> None:
        """A run has ended: done, refused, unavailable or failed."""
        ...


class Plugins:
    """Plugins by their sockets; one made without arguments has none.

    `wanted` says which there are; None: each socket in the folder. `seconds` is the longest that any run may
    take; a plugin may say less of its own.
    """

    def __init__(
        self,
        folder: Path | None = None,
        wanted: Iterable[WantedPlugin] | None = None,
        *,
        seconds: float = 600.0,
        bounds: Bounds | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._folder = folder
        self._bounds = bounds or Bounds()
        self._seconds = seconds
        self._observer = observer
        self._looks_around = wanted is None
        # Threads read it while the loop's adds to it, so it is replaced and never changed.
        self._plugins: Mapping[str, Plugin] = {}
        self._catalog: tuple[tuple[PluginState, ...], Catalog] = ((), Catalog(()))
        self._polling = ThreadPoolExecutor(_POLLING_THREADS, thread_name_prefix="plugins")
        self._told: set[str] = set()
        for each in wanted or ():
            self._add(each.name, each)

    def states(self) -> tuple[PluginState, ...]:
        """Every plugin, in the order of the settings, else by name."""
        states, catalog = self._known()
        return catalog.told(states)

    def modules(self, kind: Kind) -> Mapping[str, Module]:
        """Every module of the kind by the name that leads to it, also of plugins that are down (then
        `available` is False and `reason` says why). Of two with one name the first plugin's has it; the other
        one's is "<plugin>/<module>"."""
        return self._known()[1].modules(kind)

    def find(self, kind: Kind, name: str) -> Module | None:
        """The module of this name, alias or label, in any case, or "<plugin>/<module>"; also one that is not
        available. None: there is no such module."""
        return self._known()[1].find(kind, name)

    def demand(self, module: Module) -> None:
        """Raises `PluginUnavailable` where the module cannot be used now."""
        if not module.state.available:
            raise PluginUnavailable(
                f"plugin {module.plugin}, module {module.state.name}: {module.state.reason}"
            )

    def judge_size(self, module: Module, size: Size, parameters: Mapping[str, float], *, field: str) -> None:
        """Raises `UnsupportedError` about `field` where a picture of this size, (width, height), is more than
        the module takes, or what it makes of it more than is accepted, as far as its plugin has told."""
        self._plugin(module).judge_size(module.state.name, size, parameters, field)

    def run(
        self,
        module: Module,
        image: Pixels,
        mask: Grey | None = None,
        parameters: Mapping[str, float] | None = None,
        *,
        field: str = "image",
    ) -> RunResult:
        """What the module makes of the picture, (height, width, 3) RGB, and of a mask of its size, where the
        module takes one. Blocks, so it is for threads (`ask` is for the event loop).

        Raises `PluginUnavailable` where the module cannot be used now, `PluginError` where it failed, and
        `UnsupportedError` for what the module does not take: about a parameter's name, the mask, or `field`,
        which is what the caller's API calls the picture, or what has one made larger.
        """
        return self._run(self._asked(module, image, mask, parameters, field), module)

    async def ask(
        self,
        module: Module,
        image: Pixels,
        mask: Grey | None = None,
        parameters: Mapping[str, float] | None = None,
        *,
        field: str = "image",
    ) -> RunResult:
        """As `run`, in a thread of the plugin's own."""
        asked = self._asked(module, image, mask, parameters, field)
        threads = self._plugin(module).threads
        return await asyncio.get_running_loop().run_in_executor(threads, self._run, asked, module)

    async def follow(self) -> None:
        """Keeps asking every plugin how it is, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for plugin in self._plugins.values():
                group.create_task(self._attend(plugin))
            if self._folder is not None and self._looks_around:
                group.create_task(self._look_around(self._folder, group))
            await asyncio.Event().wait()

    def close(self) -> None:
        """Ends what is under way; what is asked of a plugin from now on fails."""
        for plugin in self._plugins.values():
            plugin.close()
        self._polling.shutdown(wait=False, cancel_futures=True)

    def _known(self) -> tuple[tuple[PluginState, ...], Catalog]:
        states = tuple(plugin.state for plugin in self._plugins.values())
        if states != self._catalog[0]:
            self._catalog = states, Catalog(states)
        return self._catalog

    def _plugin(self, module: Module) -> Plugin:
        plugin = self._plugins.get(module.plugin)
        if plugin is None:
            raise PluginUnavailable(f"plugin {module.plugin}, module {module.state.name}: it is not here")
        return plugin

    def _asked(
        self,
        module: Module,
        image: Pixels,
        mask: Grey | None,
        parameters: Mapping[str, float] | None,
        field: str,
    ) -> Run:
        return Run(
            module=module.state.name,
            image=image,
            mask=mask,
            parameters=parameters or {},
            field=field,
            seconds=self._seconds,
            since=time.monotonic(),
        )

    def _run(self, asked: Run, module: Module) -> RunResult:
        began, outcome = time.monotonic(), "failed"
        try:
            result = self._plugin(module).run(asked)
            outcome = "done"
        except PluginUnavailable:
            outcome = "unavailable"
            raise
        except UnsupportedError:
            outcome = "refused"
            raise
        except PluginError as error:
            logger.warning("%s", error, extra={"plugin": module.plugin})
            raise
        finally:
            if self._observer is not None:
                seconds = time.monotonic() - began
                self._observer.plugin_ran(
                    plugin=module.plugin, module=asked.module, outcome=outcome, seconds=seconds
                )
        return result

    def _add(self, name: str, wanted: WantedPlugin | None) -> Plugin:
        assert self._folder is not None
        plugin = Plugin(name, self._folder / f"{name}{_SUFFIX}", wanted, self._bounds)
        added = {**self._plugins, name: plugin}
        self._plugins = {each: added[each] for each in sorted(added)} if self._looks_around else added
        return plugin

    async def _attend(self, plugin: Plugin) -> None:
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(self._polling, plugin.poll)
                self._tell_of_names()
            except Exception:
                # A defect of ours must not end the server, which can do without plugins.
                logger.exception("plugin %s could not be asked", plugin.name)
            await asyncio.sleep(plugin.pause)

    async def _look_around(self, folder: Path, group: asyncio.TaskGroup) -> None:
        while True:
            find = partial(_sockets, folder)
            for name in await asyncio.get_running_loop().run_in_executor(self._polling, find):
                if name in self._plugins or len(self._plugins) >= _MOST_PLUGINS:
                    continue
                if _NAME.fullmatch(name):
                    group.create_task(self._attend(self._add(name, None)))
                else:
                    self._tell_once(f"{name}{_SUFFIX} is no plugin: its name must match {PLUGIN_NAME}")
            await asyncio.sleep(_LOOK_SECONDS)

    def _tell_of_names(self) -> None:
        for each in self._known()[1].shadowed:
            self._tell_once(f"{full_name(each.module)}: {each}")

    def _tell_once(self, sentence: str) -> None:
        if sentence not in self._told and len(self._told) < 1000:
            self._told.add(sentence)
            logger.warning("%s", sentence)


def _sockets(folder: Path) -> list[str]:
    """The names that the sockets of the folder say; none where it cannot be read."""
    try:
        return sorted(path.name.removesuffix(_SUFFIX) for path in folder.iterdir() if path.is_socket())
    except OSError:
        return []
