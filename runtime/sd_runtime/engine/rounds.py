"""What happens on the device: rounds of encoding, one network call, decoding. Knows no threads; one thread
calls it.

A round: jobs that were taken back go, new texts are encoded for a moment (so that newcomers join the next
call), one call serves as many waiting evaluations as fit, and one picture, or some tiles of a large one, goes
through an autoencoder or upscaler (of each picture that waits, when no call is waited for).
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import torch

from sd_runtime.adapters.embedding import Embeddings
from sd_runtime.adapters.patching import Adapters, Pinned
from sd_runtime.adapters.uses import AdapterUse
from sd_runtime.engine import memory
from sd_runtime.engine.calls import Asking, Calls
from sd_runtime.engine.controlnets import ControlNets
from sd_runtime.engine.encoded import EncodedTexts
from sd_runtime.engine.hosting import Hosts
from sd_runtime.engine.job import Job
from sd_runtime.engine.machine import Machine
from sd_runtime.engine.residents import Residents
from sd_runtime.engine.settings import EngineSettings
from sd_runtime.engine.ticket import Observer, Ticket
from sd_runtime.engine.work import (
    ActiveControl,
    Decode,
    Elsewhere,
    Encode,
    Evaluate,
    OnPicture,
    Pixels,
    Unneeded,
    UseCheckpoint,
)
from sd_runtime.errors import GenerationError, SdError, UnsupportedError
from sd_runtime.models import LoadedCheckpoint, controlnet
from sd_runtime.models.controlnet import ControlNet
from sd_runtime.models.library import Library
from sd_runtime.models.network import Model
from sd_runtime.prompt import encoding

logger = logging.getLogger(__name__)

#: In a round, for texts, and for the tiles of one picture; a single one takes as long as it takes.
_ENCODING_SECONDS = 0.1
_TILES_SECONDS = 0.1


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
        self._controlnets = ControlNets(settings.controlnet_bytes, self._machine)
        self._calls = Calls(settings, observer, self._adapters)
        self._hosts = Hosts(poke)
        # In line for the device: a job that was served goes to the end, so everyone's turn comes.
        self._jobs: deque[Job] = deque()
        self._between: Callable[[], None] = lambda: None

    @property
    def busy(self) -> bool:
        """Whether any job is under way that has a checkpoint, or waits for one."""
        return any(job.needs_checkpoint for job in self._jobs)

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
        wanted = ticket.task.checkpoint
        if wanted is Unneeded.CHECKPOINT:
            return True
        try:
            path = self._residents.wanted(wanted)
        except SdError:
            return True  # to be told so
        in_use = self._in_use()
        return self._residents.get(path, in_use) is not None or self._residents.can_load(path, in_use)

    def admit(self, ticket: Ticket) -> None:
        """Begin a task; it takes part from the next round on."""
        wanted, model = ticket.task.checkpoint, None
        try:
            if wanted is not Unneeded.CHECKPOINT:
                model = self._model(self._residents.wanted(wanted))
        except SdError as error:
            ticket.future.set_exception(error)
            return
        except Exception as error:  # a file that breaks its reader fails this task alone
            logger.exception("a checkpoint was not loaded")
            ticket.future.set_exception(GenerationError(f"the checkpoint could not be loaded: {error}"))
            self.demand_device(error)
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
        ended = self._let_go_of_the_ended()
        return handed_over or loaded or encoded or evaluated or pictured or ended

    def _let_go_of_the_ended(self) -> bool:
        """Whether there were any. An error of the device may show in any of its work, also in a task's own
        arithmetic, long after what caused it."""
        ended = [job for job in self._jobs if job.work is None]
        self._jobs = deque(job for job in self._jobs if job.work is not None)
        for job in ended:
            if job.error is not None:
                self.demand_device(job.error)
        if ended:
            self._controlnets.trim(self._nets_in_use())
        return bool(ended)

    @torch.inference_mode()
    def preview(self, ticket: object) -> Pixels | None:
        """A small picture of where the task stands; None before its first step and after its end."""
        job = next((job for job in self._jobs if job.ticket is ticket), None)
        step = job.ticket.last_step if job else None
        if job is None or job.model is None or step is None or step.denoised is None:
            return None
        return self._machine.preview(job.model, step.denoised)

    def demand_device(self, error: Exception) -> None:
        """After an error: raises `DeviceLost` where the device computes nothing any more."""
        self._calls.demand_device(error)

    def fail_all(self, error: Exception) -> None:
        """End every job with this error."""
        for job in self._jobs:
            if job.work is not None:
                job.fail(error)
        self._jobs.clear()

    def _in_use(self) -> set[Path]:
        return {job.model.loaded.path for job in self._jobs if job.model is not None}

    def _nets_in_use(self) -> set[ControlNet]:
        return {net for job in self._jobs for net, _ in job.controlnets.values()}

    def _model(self, path: Path) -> Model:
        in_use = self._in_use()
        model = self._residents.get(path, in_use)
        if model is None:
            model = self._residents.fetch(path, in_use, self._between)
            self._measure_memory()
        return model

    def _measure_memory(self) -> None:
        self._calls.measure(self._machine.meter())

    def _forget(self, model: Model) -> None:
        """A model leaves the device's memory, and with it everything that was made for it."""
        self._encoded.clear()
        self._adapters.forget(model)
        self._machine.forget(model)
        self._calls.forget()

    def _give_checkpoints(self) -> bool:
        given = False
        for job in self._jobs:
            if not isinstance(job.work, UseCheckpoint):
                continue
            path = job.work.path
            in_use = self._in_use()
            if self._residents.get(path, in_use) is None and not self._residents.can_load(path, in_use):
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
        """What newcomers and schedules ask for, so that they join the very next call; a task with many long
        texts does not keep the others waiting."""
        began, served = time.perf_counter(), set[int]()
        for job in self._jobs:
            # A task asks for its texts one after the other.
            while isinstance(job.work, Encode):
                if served and time.perf_counter() - began > _ENCODING_SECONDS:
                    self._to_the_end(served)
                    return True
                served.add(id(job))
                try:
                    answer = self._encode(job, job.work)
                except Exception as error:  # noqa: BLE001 - fails this job alone
                    job.fail(error)
                else:
                    job.advance(answer)
        return bool(served)

    def _encode(self, job: Job, text: Encode) -> encoding.Conditioning:
        model, pinned = _model_of(job), self._pin(job, text.adapters)
        files = pinned.files if pinned else ()
        key = (model.loaded.path, self._embeddings.revision, files, text)
        found = self._encoded.get(key)
        if found is None:
            with self._adapters.on_text(model, pinned):
                found = encoding.encode(
                    model, text.text, text.settings, self._embeddings, negative=text.negative
                )
            self._encoded.keep(key, found)
        return found

    def _pin(self, job: Job, uses: tuple[AdapterUse, ...]) -> Pinned | None:
        """The adapters as they are for this job from the first time on; raises where they cannot be used."""
        if not uses:
            return None
        if uses not in job.pinned:
            job.pinned[uses] = self._adapters.pin(_model_of(job), uses)
        return job.pinned[uses]

    def _nets(self, job: Job, work: Evaluate) -> tuple[ControlNet, ...]:
        """The ControlNets as they are for this job from the first time on; raises where one cannot be
        used."""
        return tuple(self._net(job, control) for control in work.controls)

    def _net(self, job: Job, control: ActiveControl) -> ControlNet:
        model, path = _model_of(job), control.network
        net, fitted = job.controlnets.get(path, (None, None))
        try:
            if net is None:
                net = self._controlnets.get(path, model, self._nets_in_use(), self._calls.meter)
            elif fitted is not model:
                controlnet.demand_fit(net.path, net.family, net.config, model)
        except UnsupportedError as error:
            raise UnsupportedError(control.field, error.value, error.allowed) from error
        job.controlnets[path] = net, model
        return net

    def _make_one_call(self) -> bool:
        """One call for the first in line and those that fit it."""
        waiting: list[Asking] = []
        for job in self._jobs:
            if isinstance(job.work, Evaluate):
                try:
                    pinned = self._pin(job, job.work.adapters)
                    nets = self._nets(job, job.work) if job.work.controls else ()
                    waiting.append(Asking(job, job.work, pinned, nets))
                except Exception as error:  # noqa: BLE001 - fails this job alone
                    job.fail(error)
                else:
                    self._hosts.begin_meanwhile(job)
        if not waiting:
            return False
        model = _model_of(waiting[0].job)
        served = self._calls.serve(model, [asking for asking in waiting if asking.job.model is model])
        self._to_the_end({id(job) for job in served})
        return True

    def _to_the_end(self, served: set[int]) -> None:
        """Whoever was served is last in line."""
        self._jobs = deque(sorted(self._jobs, key=lambda job: id(job) in served))

    def _work_on_pictures(self, *, limit: int | None) -> bool:
        waiting = [job for job in self._jobs if isinstance(job.work, OnPicture)][:limit]
        for job in waiting:
            failure = self._advance_picture(job)
            if failure is not None and failure.ran_out:
                # What is kept for reuse may have been all that was in the way.
                self._observer.memory_ran_out()
                self._calls.meter.release()
                failure = self._advance_picture(job)
            if failure is not None:
                job.fail(_out_of_memory(failure.error) if failure.ran_out else _explained(failure.error, job))
        if limit is not None:
            self._to_the_end({id(job) for job in waiting})
        return bool(waiting)

    def _advance_picture(self, job: Job) -> "memory.Failure | None":
        """A picture, or some tiles of a large one; what went wrong, if something did."""
        assert isinstance(job.work, OnPicture)
        try:
            answer = self._some_tiles(job, job.work)
        except Exception as error:  # noqa: BLE001 - fails this job alone
            job.tiles = None
            self.demand_device(error)
            return memory.Failure.of(error)
        if job.tiles is None:
            job.advance(answer)
        return None

    def _some_tiles(self, job: Job, work: OnPicture) -> object:
        """Tiles for as long as others can be kept waiting; after the last one the answer, and the job's tiles
        are None."""
        if job.tiles is None:
            job.tiles = self._machine.begin(job.model, work)
        began = time.perf_counter()
        while time.perf_counter() - began < _TILES_SECONDS:
            try:
                next(job.tiles)
            except StopIteration as finished:
                job.tiles = None
                return finished.value
        return None

    def _begin_host_work(self) -> None:
        for job in self._jobs:
            if isinstance(job.work, Elsewhere):
                self._hosts.begin(job, job.work)


def _model_of(job: Job) -> Model:
    assert job.model is not None, "a task that waits for a checkpoint asks for nothing else"
    return job.model


def _explained(error: Exception, job: Job) -> Exception:
    """Of latents that are not numbers, with the ControlNets that may have made them so."""
    work = job.work
    if not (isinstance(error, GenerationError) and isinstance(work, Decode) and job.controlnets):
        return error
    if bool(torch.isfinite(work.latents).all()):
        return error
    names = ", ".join(path.stem for path in job.controlnets)
    return GenerationError(f"{error}; a ControlNet that took part may be the cause, of these: {names}")


def _out_of_memory(error: Exception) -> GenerationError:
    return GenerationError(f"the device's memory is too small for this picture: {str(error)[:200]}")
