"""Calls of the network: who shares the next one, what it taught, and what becomes of those in a failed one.
Device thread only. Knows neither texts nor pictures.
"""

import logging
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch

from sd_runtime.adapters.patching import Adapters, Pinned
from sd_runtime.engine import batching, memory
from sd_runtime.engine.job import Job
from sd_runtime.engine.memory import Failure, Guard, Meter
from sd_runtime.engine.pace import Pace
from sd_runtime.engine.settings import EngineSettings
from sd_runtime.engine.ticket import Observer
from sd_runtime.engine.work import Estimate, Evaluate
from sd_runtime.errors import DeviceLost, GenerationError
from sd_runtime.models.controlnet import ControlNet
from sd_runtime.models.network import Model
from sd_runtime.models.shortage import ran_out

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asking:
    """A job that waits for an evaluation, its adapters, and the ControlNets that its controls name."""

    job: Job
    work: Evaluate
    pinned: Pinned | None
    nets: tuple[ControlNet, ...] = ()


class Calls:
    """One call after the other, each as large as was seen to pay and as the memory allows."""

    def __init__(self, settings: EngineSettings, observer: Observer, adapters: Adapters) -> None:
        self._settings = settings
        self._observer = observer
        self._adapters = adapters
        self._pace = Pace(settings.max_batch)
        self._guard = Guard(memory.NoMeter())

    @property
    def meter(self) -> Meter:
        """Of the device's memory."""
        return self._guard.meter

    def measure(self, meter: Meter) -> None:
        """From now on by this meter; what was learned of the memory is forgotten."""
        self._guard = Guard(meter)

    def forget(self) -> None:
        """Other networks are there now."""
        self._pace.forget()

    def serve(self, model: Model, waiting: Sequence[Asking]) -> list[Job]:
        """A call for the first in line and those that fit it, all of them of this model; they are told the
        answers, or that they failed."""
        first = waiting[0].work

        def limits(networks: int) -> tuple[int, int | None]:
            kind = _kind(model, first, networks)
            limit = self._pace.limit(kind) if self._settings.measured_batch else self._settings.max_batch
            return limit, self._guard.rows(kind)

        picked = batching.choose_within([each.work for each in waiting], limits)
        batch = [waiting[i] for i in picked]
        self._evaluate(model, batch)
        return [each.job for each in batch]

    def _evaluate(self, model: Model, batch: Sequence[Asking]) -> None:
        """Call the network; if that fails, again in halves, so that only who cannot be served alone fails."""
        works = [each.work for each in batch]
        kind = _kind(model, works[0], len(batching.networks_of(works)))
        # So many are known to fit.
        most, rows = self._guard.rows(kind), batching.rows(works)
        # One whose own texts are known not to fit into one call has them in several from the start.
        at_once = most if len(batch) == 1 and most is not None and most < rows else None
        failure = self._try(model, kind, batch, rows_at_once=at_once)
        if failure is None:
            return
        if failure.ran_out:
            self._note_running_out(kind, at_once or rows)
        if len(batch) > 1:
            logger.warning(
                "a network call for %d evaluations failed, trying in halves: %s", len(batch), failure.error
            )
            for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
                self._evaluate(model, half)
            return
        if failure.ran_out:
            # The last resort for one that is too large for the device: its texts one after the other.
            failure = self._try(model, kind, batch, rows_at_once=1)
        if failure is not None:
            self._guard.meter.release()
            batch[0].job.fail(_too_large(batch[0].work) if failure.ran_out else failure.error)

    def demand_device(self, error: Exception) -> None:
        """Raises `DeviceLost` where every call fails from now on, as after some errors of a device."""
        if ran_out(error):  # some ways to say so look like a device's error
            return
        if isinstance(error, torch.AcceleratorError) and not self._guard.meter.answers():
            raise DeviceLost(f"the device is lost: {error}") from error

    def _note_running_out(self, kind: Hashable, rows: int) -> None:
        self._observer.memory_ran_out()
        self._guard.note_failure(kind, rows)

    def _try(
        self, model: Model, kind: Hashable, batch: Sequence[Asking], *, rows_at_once: int | None = None
    ) -> Failure | None:
        """Call the network and hand the answers over; what went wrong, if something did."""
        try:
            answers = self._timed_call(model, kind, batch, rows_at_once)
        except Exception as error:  # noqa: BLE001 - the culprit is found by halving
            self.demand_device(error)
            return Failure.of(error)
        for asking, answer in zip(batch, answers, strict=True):
            asking.job.advance(answer)
        return None

    def _timed_call(
        self, model: Model, kind: Hashable, batch: Sequence[Asking], rows_at_once: int | None
    ) -> list[Estimate]:
        asks = [each.work for each in batch]
        self._guard.meter.begin()
        began = time.perf_counter()
        answers = batching.evaluate(
            model,
            asks,
            self._adapters,
            [each.pinned for each in batch],
            nets=[each.nets for each in batch],
            rows_at_once=rows_at_once,
        )
        if answers[0].denoised.is_cuda:
            # A GPU call returns before it is computed; without waiting, steps would be reported and
            # newcomers locked out ahead of time.
            torch.cuda.synchronize(answers[0].denoised.device)
        seconds = time.perf_counter() - began
        rows = batching.rows(asks)
        self._guard.note(kind, rows_at_once or rows)
        if rows_at_once is None:
            self._pace.note(kind, evaluations=len(asks), rows=rows, seconds=seconds)
        self._observer.unet_call(
            rows=rows, requests=len({each.job.ticket.request for each in batch}), seconds=seconds
        )
        return answers


def _kind(model: Model, ask: Evaluate, networks: int) -> Hashable:
    """What time and memory are learned for: calls of one model, for latents of one shape, with so many
    ControlNets beside it."""
    return model.loaded.path, batching.kind_of(ask), networks


def _too_large(ask: Evaluate) -> GenerationError:
    height, width = ask.x.shape[2:]
    return GenerationError(
        f"the device's memory is too small for one evaluation of {width}x{height} latents; ask for a smaller"
        " width and height, or give the instance more memory"
    )
