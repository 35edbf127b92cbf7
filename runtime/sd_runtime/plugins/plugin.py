"""One plugin: how it is, and having a module of it do something. All calls block."""

import json
import logging
import math
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sd_runtime.errors import PluginError, PluginUnavailable, UnsupportedError
from sd_runtime.plugins import archive, description, health, sizes, wanted
from sd_runtime.plugins.archive import Grey, Pixels
from sd_runtime.plugins.asking import Answer, Deadline, Line, Question
from sd_runtime.plugins.faults import BrokenContract, Closed, NotAnswering, NotReached, TookTooLong
from sd_runtime.plugins.sizes import Size
from sd_runtime.plugins.states import Kind, ModuleState, PluginState, Reason
from sd_runtime.settings import WantedPlugin

logger = logging.getLogger(__name__)

#: Between two polls: of a plugin that is ready, and of one that may be back any moment.
_CALM_SECONDS, _EAGER_SECONDS = 5.0, 1.0
_POLL_SECONDS = 2.0
#: So long a plugin that was ready may be silent: a worker is replaced in less.
_PATIENCE_SECONDS = 5.0
#: So long one that never answered is said to be starting.
_STARTING_SECONDS = 60.0
_MOST_DESCRIPTION_BYTES = 1024 * 1024
#: Runs at once, and those that wait for their turn: together fewer than the threads that the engine has for
#: such work, so that a plugin which hangs leaves some to the others.
RUNS_AT_ONCE, MOST_WAITING = 4, 8
#: So long a run waits where even those places are taken; a moment, as a thread waits with it.
_PLACE_SECONDS = 2.0
#: So long connecting is tried again; a run that has begun never is.
_CONNECT_SECONDS = 3.0
#: The plugin is told a little less than is left, so that its own sentence comes before our patience ends.
_MARGIN_SECONDS = 0.25
_MOST_DETAIL = 500


class _SaysUnavailable(NotAnswering):
    """It answers that it cannot serve: nothing to be patient with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What is accepted of a plugin's answers: pixels of a preprocessor's map, and of an upscaler's result."""

    map_pixels: int = 16 * 1024 * 1024
    result_pixels: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class RunResult:
    """What a module made: the picture, and what else it tells (its `result.json`)."""

    image: Pixels
    info: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """What a module is to do; `field` is what the caller's API calls that for which a picture may be too
    large."""

    module: str
    image: Pixels
    mask: Grey | None
    parameters: Mapping[str, float]
    field: str
    #: The longest that it may take, and the longest that it may wait for its turn before that.
    seconds: float
    #: When it was asked for, on the monotonic clock.
    since: float

    @property
    def size(self) -> Size:
        """Of the picture."""
        height, width = self.image.shape[:2]
        return width, height


class Plugin:
    """A plugin at its socket. `wanted` is what the settings say of it; None: nothing."""

    def __init__(self, name: str, path: Path, wanted: WantedPlugin | None, bounds: Bounds) -> None:
        self.name = name
        #: For those who ask from the event loop.
        self.threads = ThreadPoolExecutor(RUNS_AT_ONCE, thread_name_prefix=f"plugin-{name}")
        self._line = Line(path)
        self._wanted = wanted
        self._bounds = bounds
        self._born = time.monotonic()
        self._silent_since: float | None = None
        self._turns = threading.BoundedSemaphore(RUNS_AT_ONCE)
        self._places = threading.BoundedSemaphore(RUNS_AT_ONCE + MOST_WAITING)
        self._counting = threading.Lock()
        self._under_way = 0
        self.state = self._without_description()

    @property
    def pause(self) -> float:
        """Seconds until it should be polled again."""
        return _CALM_SECONDS if self.state.ready and self._silent_since is None else _EAGER_SECONDS

    def close(self) -> None:
        """Ends what is under way."""
        self._line.close()
        self.threads.shutdown(wait=False, cancel_futures=True)

    def poll(self) -> None:
        """Asks how it is, and keeps that as its state."""
        try:
            state = self._described(self._got("/v1/plugin", _MOST_DESCRIPTION_BYTES))
            health.demand(self._got("/healthz", health.MOST_BYTES))
        except BrokenContract as error:
            self._silent_since = None
            self._become(self._down(Reason.CONTRACT_BROKEN, f"{self.name} breaks its contract: {error}"))
        except NotAnswering as error:
            self._be_silent(error)
        else:
            self._silent_since = None
            self._become(state)

    def run(self, asked: Run) -> RunResult:
        """What the module makes of the picture; raises `PluginError`, `PluginUnavailable` and
        `UnsupportedError`."""
        module = self._usable(asked.module)
        self._judge(asked, module)
        seconds = self._seconds(asked)
        with self._turn(asked, seconds) as beside:
            self._usable(asked.module)
            try:
                return self._asked(asked, module, seconds, beside)
            except (NotReached, Closed) as error:
                raise PluginUnavailable(self._told(asked.module, str(error))) from error
            except TookTooLong as error:
                why = f"it took longer than it may, {seconds:g} s{_beside(beside)}"
                raise PluginError(self._told(asked.module, why)) from error
            except NotAnswering as error:
                raise PluginError(self._told(asked.module, str(error))) from error
            except BrokenContract as error:
                raise PluginError(self._told(asked.module, f"it broke its contract: {error}")) from error

    def judge_size(self, name: str, size: Size, parameters: Mapping[str, float], field: str) -> None:
        """Raises `UnsupportedError` about `field` where a picture of this size is more than the module takes,
        as far as it is known, or what it is to make of it more than is accepted."""
        limits = self.state.limits
        module = next((each for each in self.state.modules if each.name == name), None)
        if limits is None or module is None:
            return
        most, due = limits.pixels, sizes.most_pixels(module, parameters, size)
        if size[0] * size[1] > most:
            allowed = f"pictures of at most {most} pixels for {self.name}/{name}"
            raise UnsupportedError(field, f"{size[0]}x{size[1]}", allowed)
        if due > (most := self._most_made(module)):
            allowed = f"pictures of which {self.name}/{name} makes at most {most} pixels, not {due}"
            raise UnsupportedError(field, f"{size[0]}x{size[1]}", allowed)

    # How it is.

    def _got(self, path: str, most_bytes: int) -> bytes:
        question = Question(method="GET", path=path, most_bytes=most_bytes)
        answer = self._line.ask(question, Deadline.after(_POLL_SECONDS))
        if answer.status != 200:
            told = f"GET {path} is answered with {_status(answer)}"
            raise _SaysUnavailable(told) if answer.status in (429, *range(500, 600)) else BrokenContract(told)
        return answer.body

    def _described(self, body: bytes) -> PluginState:
        kind: Kind | None = self._wanted.kind if self._wanted else None
        said = description.read(body, name=self.name, kind=kind)
        modules, lost = wanted.overridden(
            said.states(),
            self._wanted.modules if self._wanted else (),
            f"{said.name} {said.version} has no module of this name",
        )
        told = f"it has no module {', '.join(lost)}, which the settings name" if lost else ""
        return PluginState(
            name=self.name,
            kind=said.kind,
            version=said.version,
            ready=True,
            reason=Reason.NONE,
            message="; ".join(filter(None, (told, said.message))),
            limits=said.told_limits(),
            modules=modules,
        )

    def _be_silent(self, error: NotAnswering) -> None:
        now = time.monotonic()
        if self._silent_since is None:
            self._silent_since = now
        patient = not isinstance(error, _SaysUnavailable)
        if self.state.ready and patient and now - self._silent_since < _PATIENCE_SECONDS:
            return
        if not self.state.version and now - self._born < _STARTING_SECONDS:
            self._become(self._down(Reason.STARTING, f"{self.name} has not answered yet: {error}"))
        else:
            self._become(self._down(Reason.NOT_ANSWERING, f"{self.name} does not answer: {error}"))

    def _down(self, reason: Reason, message: str) -> PluginState:
        """As it was known last, with nothing that can be used."""
        modules = tuple(replace(each, available=False, reason=message) for each in self.state.modules)
        return replace(self.state, ready=False, reason=reason, message=message, modules=modules)

    def _without_description(self) -> PluginState:
        message = f"{self.name} was not asked yet"
        settings = self._wanted
        return PluginState(
            name=self.name,
            kind=settings.kind if settings else None,
            message=message,
            modules=tuple(wanted.absent(each, message) for each in settings.modules) if settings else (),
        )

    def _become(self, state: PluginState) -> None:
        before, self.state = self.state, state
        if (before.ready, before.reason, before.version) == (state.ready, state.reason, state.version):
            return
        if state.ready:
            logger.info("plugin %s %s is ready", self.name, state.version, extra={"plugin": self.name})
        else:
            level = logging.INFO if state.reason is Reason.STARTING else logging.WARNING
            logger.log(level, "plugin is not ready: %s", state.message, extra={"plugin": self.name})

    # Having it do something.

    def _usable(self, name: str) -> ModuleState:
        state = self.state
        module = next((each for each in state.modules if each.name == name), None)
        if not state.ready or module is None:
            raise PluginUnavailable(self._told(name, state.message or "it has no such module now"))
        if not module.available:
            raise PluginUnavailable(self._told(name, module.reason))
        return module

    def _judge(self, asked: Run, module: ModuleState) -> None:
        _judge_parameters(asked.parameters, module)
        self.judge_size(module.name, asked.size, asked.parameters, asked.field)
        width, height = asked.size
        if asked.mask is not None and (not module.mask or asked.mask.shape != (height, width)):
            allowed = f"masks of {width}x{height}" if module.mask else f"none for {self.name}/{module.name}"
            raise UnsupportedError("mask", "x".join(map(str, asked.mask.shape[::-1])), allowed)

    def _most_made(self, module: ModuleState) -> int:
        return self._bounds.map_pixels if module.factor is None else self._bounds.result_pixels

    def _seconds(self, asked: Run) -> float:
        """The longest that the run may take: what the plugin says, unless that is more than the caller's."""
        limits = self.state.limits
        return min(limits.seconds, asked.seconds) if limits else asked.seconds

    @contextmanager
    def _turn(self, asked: Run, seconds: float) -> Iterator[int]:
        """While it lasts the run may be under way beside so many others. Waiting takes nothing of a run's
        time, but ends when that has passed once."""
        over = Deadline(asked.since + seconds)
        if not self._places.acquire(timeout=max(min(over.left, _PLACE_SECONDS), 0)):
            why = f"{RUNS_AT_ONCE} runs are under way and {MOST_WAITING} wait; try again shortly"
            raise PluginUnavailable(self._told(asked.module, why))
        try:
            if not self._turns.acquire(timeout=max(over.left, 0)):
                why = f"others were under way until its time was over, {seconds:g} s"
                raise PluginError(self._told(asked.module, why))
            try:
                with self._counting:
                    beside, self._under_way = self._under_way, self._under_way + 1
                yield beside
            finally:
                with self._counting:
                    self._under_way -= 1
                self._turns.release()
        finally:
            self._places.release()

    def _asked(self, asked: Run, module: ModuleState, seconds: float, beside: int) -> RunResult:
        size = asked.size
        most_pixels = self._bounds.map_pixels
        if module.factor is not None:
            most_pixels = sizes.most_pixels(module, asked.parameters, size)
        body = archive.pack(asked.image, asked.mask, asked.parameters)
        deadline = Deadline.after(seconds)
        told = max(deadline.left - _MARGIN_SECONDS, 0.05)
        question = Question(
            method="POST",
            path=f"/v1/run/{asked.module}",
            most_bytes=archive.most_bytes(most_pixels),
            body=body,
            headers=(("Content-Type", "application/zip"), ("Sd-Deadline", f"{told:.3f}")),
        )
        answer = self._line.ask(question, deadline, connect_seconds=_CONNECT_SECONDS)
        if answer.status != 200:
            raise self._refusal(asked, answer, beside)
        image, info = archive.unpack(answer.body, most_pixels=most_pixels)
        sizes.demand(module, asked.parameters, size, (image.shape[1], image.shape[0]))
        return RunResult(image, info)

    def _refusal(self, asked: Run, answer: Answer, beside: int) -> Exception:
        told = _status(answer)
        if answer.status in (413, 422):
            # Of the picture, as all else that was sent is what its description allows.
            allowed = f"what {self.name}/{asked.module} takes; it says: {_detail(answer) or told}"
            return UnsupportedError(asked.field, "x".join(map(str, asked.size)), allowed)
        if answer.status in (429, 503):
            return PluginUnavailable(self._told(asked.module, _detail(answer) or told))
        if answer.status == 504:
            return PluginError(self._told(asked.module, f"{_detail(answer) or told}{_beside(beside)}"))
        if answer.status == 404 or answer.status >= 500:
            return PluginError(self._told(asked.module, _detail(answer) or told))
        return BrokenContract(f"it answered with {told}, which contract 1 does not know")

    def _told(self, module: str, why: str) -> str:
        return f"plugin {self.name}, module {module}: {why}"


def _judge_parameters(given: Mapping[str, float], module: ModuleState) -> None:
    known = {parameter.name: parameter for parameter in module.parameters}
    for name, value in given.items():
        parameter = known.get(name)
        if parameter is None:
            allowed = ", ".join(known) or "none"
            raise UnsupportedError(name, value, f"of {module.name}'s parameters: {allowed}")
        whole = parameter.type == "integer"
        in_range = parameter.minimum <= value <= parameter.maximum  # never true of NaN
        if not in_range or (whole and math.trunc(value) != value):
            what = "whole numbers from " if whole else ""
            raise UnsupportedError(name, value, f"{what}{parameter.minimum:g} to {parameter.maximum:g}")


def _beside(others: int) -> str:
    """A plugin that computes one after the other counts the wait for its turn."""
    return f"; {others} more of its runs were under way" if others else ""


def _status(answer: Answer) -> str:
    detail = _detail(answer)
    return f"status {answer.status}" + (f": {detail}" if detail else "")


def _detail(answer: Answer) -> str:
    """The sentence of an error's answer, on one line; "" where there is none."""
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        return ""
    detail = value.get("detail") if isinstance(value, dict) else None
    if not isinstance(detail, str):
        return ""
    line = "".join(each if each.isprintable() else " " for each in detail).strip()
    return line if len(line) <= _MOST_DETAIL else f"{line[:_MOST_DETAIL]}…"
