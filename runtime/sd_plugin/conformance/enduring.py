"""Demands on several runs at once, and on runs that have too little time."""

import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from sd_plugin.conformance.demand import Broken, Demand, NotTried, must
from sd_plugin.conformance.describing import PROMPT_SECONDS
from sd_plugin.conformance.probe import Answer, Made, NoAnswer, Probe, picture, read
from sd_plugin.conformance.refusing import judge_refusal, request
from sd_plugin.conformance.running import judge_size
from sd_plugin.contract import RESOLUTION, ModuleDescription, PluginDescription

_AT_ONCE = 4
#: (height, width); as many as run at once, all different, so that a picture given to another is seen.
_SHAPES = ((64, 64), (64, 80), (64, 96), (64, 112))
#: Too little for most runs, and nobody's clock is finer.
_HURRY = "0.001"
#: To serve again after a run over its deadline, with a new worker if need be.
_RECOVERY_SECONDS = 30.0
_MOST_BYTES = 1 << 26
#: What comes so long after its deadline was not made within it, however busy the machine is.
_LATE_SECONDS = 2.0
#: A run that is long enough to see a deadline kept, and the time it is given to show how long it is.
_LONG_SECONDS, _TRIAL_SECONDS = 1.0, 5.0
#: A run with a part of its time; it must be answered within another part.
_SHARE, _LATEST_SHARE = 0.25, 0.75
#: So short runs may be over before anything else is asked.
_SEEN_SECONDS = 0.2
#: Pixels of the largest picture that is sent here.
_MOST_SENT = 4_000_000


def demands(description: PluginDescription) -> Iterator[Demand]:
    """Those of the first available module."""
    module = next((each for each in description.modules if each.available), None)
    if module is None:
        return
    sentence = f"{module.name}: {_AT_ONCE} runs at once are each answered with their own picture, or 429 Busy"
    yield Demand(sentence, partial(_several, module))
    sentence = (
        f"{module.name}: GET /healthz and GET /v1/plugin are answered within {PROMPT_SECONDS:g} s during runs"
    )
    yield Demand(sentence, partial(_asked_meanwhile, module))
    sentence = f"{module.name}: a run with an Sd-Deadline of {_HURRY} s is answered in time, 200 or 504"
    yield Demand(sentence, partial(_hurried, module, description.limits.pixels))
    yield Demand("a long run with a short Sd-Deadline is answered 504", partial(_cut_short, description))


def _several(module: ModuleDescription, probe: Probe) -> None:
    parameter = module.parameter(RESOLUTION)
    parameters = {RESOLUTION: parameter.minimum} if parameter else {}

    def ask(shape: tuple[int, int]) -> Made | Answer:
        body = request(picture(*shape), parameters)
        answer = probe.post(module.name, body, most=_MOST_BYTES)
        if answer.status != 200:
            judge_refusal(answer, {429: "Busy"})
            return answer
        return read(module, picture(*shape), answer)

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        made = list(threads.map(ask, _SHAPES))
    for shape, each in zip(_SHAPES, made, strict=True):
        if isinstance(each, Made):
            judge_size(module, (*shape, 3), each, parameters)
    must(any(isinstance(each, Made) for each in made), "all of them are 429 Busy")


def _hurried(module: ModuleDescription, most_pixels: int, probe: Probe) -> None:
    _serves(probe)
    side = min(512, math.isqrt(most_pixels))
    began = time.monotonic()
    answer = probe.post(module.name, request(picture(side, side), {}), deadline=_HURRY, most=_MOST_BYTES)
    took = time.monotonic() - began
    if answer.status != 200:
        judge_refusal(answer, {504: "DeadlineExceeded"})
    must(took <= float(_HURRY) + probe.patience, f"the answer took {took:.1f} s")
    must(answer.status != 200 or took <= _LATE_SECONDS, f"it answers 200 after {took:.1f} s")
    _recovered(module, probe)


def _serves(probe: Probe) -> None:
    """Else each demand would wait for it in vain."""
    if (answer := probe.get("/healthz")).status != 200:
        raise NotTried(f"GET /healthz answers {answer.status}")


def _recovered(module: ModuleDescription, probe: Probe) -> None:
    """Waits until a run is served again: a worker that is replaced may take a moment, and may still have to
    find out that it must be."""
    parameter = module.parameter(RESOLUTION)
    body = request(picture(64, 64), {RESOLUTION: parameter.minimum} if parameter else {})
    until, told = time.monotonic() + _RECOVERY_SECONDS, ""
    while time.monotonic() < until:
        try:
            answer = probe.post(module.name, body, most=_MOST_BYTES)
        except NoAnswer as why:
            told = str(why)
        else:
            if answer.status == 200:
                return
            told = f"a run is answered {answer.status}"
        time.sleep(0.5)
    raise Broken(f"{told} for {_RECOVERY_SECONDS:g} s after it")


def _asked_meanwhile(module: ModuleDescription, probe: Probe) -> None:
    """Several runs, so that short ones take a while too where one waits for the other."""
    _serves(probe)
    deadline = f"{min(_TRIAL_SECONDS, probe.limits_seconds):g}"
    body = _large(module, probe)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        began = time.monotonic()
        runs = [
            threads.submit(probe.post, module.name, body, deadline=deadline, most=_MOST_BYTES)
            for _ in range(_AT_ONCE)
        ]
        time.sleep(_SEEN_SECONDS / 2)
        slowest, asked = 0.0, 0
        while not all(each.done() for each in runs):
            for path in ("/healthz", "/v1/plugin"):
                at = time.monotonic()
                probe.get(path)
                slowest, asked = max(slowest, time.monotonic() - at), asked + 1
        took = time.monotonic() - began
    _recovered(module, probe)
    must(slowest <= PROMPT_SECONDS, f"an answer took {slowest:.1f} s")
    if took < _SEEN_SECONDS or not asked:
        raise NotTried("its runs are too short to ask anything meanwhile")


def _cut_short(description: PluginDescription, probe: Probe) -> None:
    """Looks for a run that takes long, and asks for it again with less time."""
    _serves(probe)
    trial = min(_TRIAL_SECONDS, probe.limits_seconds)
    for module in (each for each in description.modules if each.available):
        body = _large(module, probe)
        status, took = _timed(module, body, trial, probe)
        _recovered(module, probe)
        if status == 504:
            return
        must(
            status != 200 or took <= trial + _LATE_SECONDS,
            f"{module.name}: 200 after {took:.1f} s of {trial:g} s",
        )
        if status != 200 or took < _LONG_SECONDS:
            continue
        seconds = took * _SHARE
        status, again = _timed(module, body, seconds, probe)
        _recovered(module, probe)
        told = f"{module.name}: with {seconds:.2f} s it answers {status} after {again:.2f} s"
        must(status == 504 or again <= took * _LATEST_SHARE, told)
        return
    raise NotTried("none of its modules takes long enough")


def _timed(module: ModuleDescription, body: bytes, deadline: float, probe: Probe) -> tuple[int, float]:
    began = time.monotonic()
    answer = probe.post(module.name, body, deadline=f"{deadline:.3f}", most=_MOST_BYTES)
    return answer.status, time.monotonic() - began


def _large(module: ModuleDescription, probe: Probe) -> bytes:
    """A run that takes as long as can be afforded: a map at the highest resolution, or of the largest
    picture."""
    parameter = module.parameter(RESOLUTION)
    if parameter is not None:
        return request(picture(64, 64), {RESOLUTION: parameter.maximum})
    most = min(_MOST_SENT, probe.description.limits.pixels if probe.description else _MOST_SENT)
    if module.factor is not None:
        most = min(most, _MOST_SENT // module.factor**2)
    side = math.isqrt(most)
    return request(picture(side, side), {})
