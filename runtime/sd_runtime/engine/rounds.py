"""What happens on the device: rounds of encoding, one network call, decoding. Knows no threads; one thread
calls it.

A round: jobs that were taken back go, new texts are encoded (cheap, and it lets newcomers join the very next
call), one call serves as many waiting evaluations as fit, and one picture goes through an autoencoder or
upscaler (all of them when no call is waited for).
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from sd_runtime.adapters.embedding import Embeddings
from sd_runtime.adapters.patching import Adapters
from sd_runtime.engine import batching, memory
from sd_runtime.engine.encoded import EncodedTexts
from sd_runtime.engine.hosting import Hosts
from sd_runtime.engine.job import Job
from sd_runtime.engine.machine import Machine
from sd_runtime.engine.memory import Guard
from sd_runtime.engine.pace import Pace
from sd_runtime.engine.residents import Residents
from sd_runtime.engine.settings import EngineSettings
from sd_runtime.engine.ticket import Observer, Ticket
from sd_runtime.engine.work import (
    Decode,
    Encode,
    EncodeImage,
    Estimate,
    Evaluate,
    Host,
    Pixels,
    Upscale,
    UseCheckpoint,
)
from sd_runtime.errors import GenerationError, SdError
from sd_runtime.models import LoadedCheckpoint
from sd_runtime.models.library import Library
from sd_runtime.models.network import Model
from sd_runtime.prompt import encoding

logger = logging.getLogger(__name__)

_OnPictures = Decode | EncodeImage | Upscale


class Rounds:
    """The jobs under way and the models they run on."""

    def __init__(
        self, settings: EngineSettings, library: Library, observer: Observer, *, poke: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._observer = observer
        self._machine = Machine(settings, library.digests)
        self._residents = Residents(settings, on_drop=self._forget, machine=self._machine)
        self._adapters = Adapters(budget_bytes=settings.adapter_bytes)
        self._embeddings = Embeddings(library)
        self._encoded = EncodedTexts()
        self._pace = Pace(settings.max_batch)
        self._guard = Guard(memory.NoMeter())
        self._hosts = Hosts(poke)
        # In line for the device: a job that was served goes to the end, so everyone's turn comes.
        self._jobs: deque[Job] = deque()
        self._between: Callable[[], None] = lambda: None

    @property
    def busy(self) -> bool:
        """Whether any job is under way."""
        return bool(self._jobs)

    @property
    def waits_for_a_checkpoint(self) -> bool:
        """Whether a job needs a checkpoint for which others must come to their end first."""
        return any(isinstance(job.work, UseCheckpoint) for job in self._jobs)

    @property
    def resident(self) -> LoadedCheckpoint | None:
        """The checkpoint that is served, while its networks are in memory."""
        return self._residents.served

    def close(self) -> None:
        """Ends the threads of host work."""
        self._hosts.close()

    def load(self, path: Path, *, sha256: str | None, between: Callable[[], None]) -> LoadedCheckpoint:
        """Serve another checkpoint; only while not busy. A file whose header is at fault leaves the one
        before; if the load fails later, or `between` ends it by raising, none is served.
        """
        self._between = between
        loaded = self._residents.serve(path, sha256, between)
        self._measure_memory()
        return loaded

    def can_admit(self, ticket: Ticket) -> bool:
        """Whether the task could begin now: its checkpoint is there, or nothing is in its way."""
        try:
            path = self._residents.wanted(ticket.task.checkpoint)
        except SdError:
            return True  # to be told so
        return self._residents.get(path) is not None or self._residents.can_load(path, self._in_use())

    def admit(self, ticket: Ticket) -> None:
        """Begin a task; it takes part from the next round on."""
        try:
            model = self._model(self._residents.wanted(ticket.task.checkpoint))
        except SdError as error:
            ticket.future.set_exception(error)
            return
        except Exception as error:  # a file that breaks its reader fails this task alone
            logger.exception("a checkpoint was not loaded")
            ticket.future.set_exception(GenerationError(f"the checkpoint could not be loaded: {error}"))
            return
        self._jobs.append(Job(ticket, model))

    @torch.inference_mode()
    def play(self) -> bool:
        """One round; whether there was anything to do."""
        for job in self._jobs:
            job.end_if_asked()
        handed_over = self._hosts.hand_over()
        loaded = self._give_checkpoints()
        encoded = self._encode_new_texts()
        evaluated = self._make_one_call()
        pictured = self._work_on_pictures(limit=1 if evaluated else None)
        self._begin_host_work()
        before = len(self._jobs)
        self._jobs = deque(job for job in self._jobs if job.work is not None)
        ended = len(self._jobs) < before
        return handed_over or loaded or encoded or evaluated or pictured or ended

    @torch.inference_mode()
    def preview(self, ticket: object) -> Pixels | None:
        """A small picture of where the task stands; None before its first step and after its end."""
        job = next((job for job in self._jobs if job.ticket is ticket), None)
        step = job.ticket.last_step if job else None
        if job is None or job.model is None or step is None or step.denoised is None:
            return None
        return self._machine.preview(job.model, step.denoised)

    def fail_all(self, error: Exception) -> None:
        """End every job with this error."""
        for job in self._jobs:
            if job.work is not None:
                job.fail(error)
        self._jobs.clear()

    def _in_use(self) -> set[Path]:
        return {job.model.loaded.path for job in self._jobs if job.model is not None}

    def _model(self, path: Path) -> Model:
        model = self._residents.get(path)
        if model is None:
            model = self._residents.fetch(path, self._in_use(), self._between)
            self._measure_memory()
        return model

    def _measure_memory(self) -> None:
        self._guard = Guard(self._machine.meter())

    def _forget(self, model: Model) -> None:
        """A model leaves the device's memory, and with it everything that was made for it."""
        self._encoded.clear()
        self._adapters.forget(model)
        self._machine.forget(model)
        self._pace.forget()

    def _give_checkpoints(self) -> bool:
        given = False
        for job in self._jobs:
            if not isinstance(job.work, UseCheckpoint):
                continue
            path = job.work.path
            if self._residents.get(path) is None and not self._residents.can_load(path, self._in_use()):
                continue
            try:
                model = self._model(path)
            except Exception as error:  # noqa: BLE001 - fails this job alone
                job.fail(error)
            else:
                job.use(model)
            given = True
        return given

    def _encode_new_texts(self) -> bool:
        encoded = False
        for job in self._jobs:
            # A task asks for its texts one after the other.
            while isinstance(job.work, Encode):
                encoded = True
                try:
                    answer = self._encode(_model_of(job), job.work)
                except Exception as error:  # noqa: BLE001 - fails this job alone
                    job.fail(error)
                else:
                    job.advance(answer)
        return encoded

    def _encode(self, model: Model, text: Encode) -> encoding.Conditioning:
        files = self._adapters.prepare(model, text.adapters)
        key = (model.loaded.path, self._embeddings.revision, files, text)
        found = self._encoded.get(key)
        if found is None:
            with self._adapters.on_text(model, text.adapters):
                found = encoding.encode(
                    model, text.text, text.settings, self._embeddings, negative=text.negative
                )
            self._encoded.keep(key, found)
        return found

    def _make_one_call(self) -> bool:
        waiting = [(job, job.work) for job in self._jobs if isinstance(job.work, Evaluate)]
        while waiting:
            job, ask = waiting.pop(0)
            try:
                self._adapters.prepare(_model_of(job), ask.adapters)
            except Exception as error:  # noqa: BLE001 - fails this job alone
                job.fail(error)
                continue
            self._call_for(job, [(job, ask), *waiting])
            return True
        return False

    def _call_for(self, first: Job, waiting: Sequence[tuple[Job, Evaluate]]) -> None:
        """One call for the first in line and those that fit it."""
        model = _model_of(first)
        same = [(job, ask) for job, ask in waiting if job.model is model and self._is_prepared(job, ask)]
        kind = (model.loaded.path, batching.kind_of(same[0][1]))
        limit = self._pace.limit(kind) if self._settings.measured_batch else self._settings.max_batch
        picked = batching.choose([ask for _, ask in same], limit, rows_limit=self._guard.rows(kind))
        batch = [same[i] for i in picked]
        self._evaluate(model, kind, batch)
        served = {id(job) for job, _ in batch}
        self._jobs = deque(sorted(self._jobs, key=lambda job: id(job) in served))

    def _is_prepared(self, job: Job, ask: Evaluate) -> bool:
        try:
            self._adapters.prepare(_model_of(job), ask.adapters)
        except Exception as error:  # noqa: BLE001 - fails this job alone
            job.fail(error)
            return False
        return True

    def _evaluate(self, model: Model, kind: Any, batch: Sequence[tuple[Job, Evaluate]]) -> None:
        """Call the network; if that fails, again in halves, so that only who cannot be served alone fails."""
        try:
            answers = self._timed_call(model, kind, batch)
        except Exception as error:  # noqa: BLE001 - the culprit is found by halving
            if memory.ran_out(error):
                self._observer.memory_ran_out()
                self._guard.note_failure(kind, batching.rows([ask for _, ask in batch]))
            if len(batch) == 1:
                self._evaluate_alone(model, *batch[0], error)
                return
            logger.warning(
                "a network call for %d evaluations failed, trying in halves: %s", len(batch), error
            )
            self._evaluate(model, kind, batch[: len(batch) // 2])
            self._evaluate(model, kind, batch[len(batch) // 2 :])
            return
        for (job, _), answer in zip(batch, answers, strict=True):
            job.advance(answer)

    def _evaluate_alone(self, model: Model, job: Job, ask: Evaluate, error: Exception) -> None:
        """The last resort for one that is too large for the device: its texts one after the other."""
        if not memory.ran_out(error):
            job.fail(error)
            return
        try:
            (answer,) = batching.evaluate(model, [ask], self._adapters, rows_at_once=1)
        except Exception as again:  # noqa: BLE001 - fails this job alone
            self._guard.meter.release()
            job.fail(_too_large(ask) if memory.ran_out(again) else again)
            return
        job.advance(answer)

    def _timed_call(self, model: Model, kind: Any, batch: Sequence[tuple[Job, Evaluate]]) -> list[Estimate]:
        asks = [ask for _, ask in batch]
        self._guard.meter.begin()
        began = time.perf_counter()
        answers = batching.evaluate(model, asks, self._adapters)
        if answers[0].denoised.is_cuda:
            # A GPU call returns before it is computed; without waiting, steps would be reported and
            # newcomers locked out ahead of time.
            torch.cuda.synchronize(answers[0].denoised.device)
        seconds = time.perf_counter() - began
        rows = batching.rows(asks)
        self._guard.note(kind, rows)
        self._pace.note(kind, evaluations=len(asks), rows=rows, seconds=seconds)
        self._observer.unet_call(
            rows=rows, requests=len({job.ticket.request for job, _ in batch}), seconds=seconds
        )
        return answers

    def _work_on_pictures(self, *, limit: int | None) -> bool:
        waiting = [(job, job.work) for job in self._jobs if isinstance(job.work, _OnPictures)]
        for job, work in waiting[:limit]:
            try:
                answer = self._picture(job, work)
            except Exception as error:  # noqa: BLE001 - fails this job alone
                job.fail(_out_of_memory(error) if memory.ran_out(error) else error)
            else:
                job.advance(answer)
        return bool(waiting)

    def _picture(self, job: Job, work: _OnPictures) -> object:
        try:
            return self._machine.work_on(_model_of(job), work)
        except Exception as error:
            if not memory.ran_out(error):
                raise
            # What is kept for reuse may have been all that was in the way.
            self._observer.memory_ran_out()
            self._guard.meter.release()
            return self._machine.work_on(_model_of(job), work)

    def _begin_host_work(self) -> None:
        for job in self._jobs:
            if isinstance(job.work, Host):
                self._hosts.begin(job, job.work)


def _model_of(job: Job) -> Model:
    assert job.model is not None, "a task that waits for a checkpoint asks for nothing else"
    return job.model


def _too_large(ask: Evaluate) -> GenerationError:
    height, width = ask.x.shape[2:]
    return GenerationError(
        f"the device's memory is too small for one evaluation of {width}x{height} latents; ask for a smaller"
        " width and height, or give the instance more memory"
    )


def _out_of_memory(error: Exception) -> GenerationError:
    return GenerationError(f"the device's memory is too small for this picture: {str(error)[:200]}")
