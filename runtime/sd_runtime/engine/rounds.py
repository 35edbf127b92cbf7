"""What happens on the device: rounds of encoding, one network call, decoding. Knows no threads; one thread
calls it.

A round: cancelled jobs go, new texts are encoded (cheap, and it lets newcomers join the very next call),
one call serves as many waiting evaluations as fit, and one finished picture is decoded (all of them when
nothing else waits).
"""

import gc
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from sd_runtime import device
from sd_runtime.engine import batching
from sd_runtime.engine.encoded import EncodedTexts
from sd_runtime.engine.job import Job
from sd_runtime.engine.ticket import Observer, Ticket
from sd_runtime.engine.work import Decode, Encode, Evaluate
from sd_runtime.errors import NotLoaded
from sd_runtime.models import LoadedCheckpoint, checkpoint
from sd_runtime.models.network import Model
from sd_runtime.models.reading import DigestCache
from sd_runtime.prompt import encoding

logger = logging.getLogger(__name__)


class Rounds:
    """The jobs under way and the model they run on."""

    def __init__(self, *, device_request: str, max_batch: int, observer: Observer) -> None:
        self._device_request = device_request
        self._max_batch = max_batch
        self._observer = observer
        self._digests = DigestCache()
        self._model: Model | None = None
        self._encoded = EncodedTexts()
        # In line for the device: a job that was served goes to the end, so everyone's turn comes.
        self._jobs: deque[Job] = deque()

    @property
    def busy(self) -> bool:
        """Whether any job is under way."""
        return bool(self._jobs)

    @property
    def resident(self) -> LoadedCheckpoint | None:
        """The checkpoint that the model was made from."""
        return self._model.loaded if self._model else None

    def load(self, path: Path, *, sha256: str | None, between: Callable[[], None]) -> LoadedCheckpoint:
        """Replace the model; only while not busy. A file whose header is at fault leaves the one before
        resident; if the load fails later, or `between` ends it by raising, none is.
        """
        chosen = device.choose(self._device_request)
        blueprint = checkpoint.examine(path)
        self._drop_model()
        self._model = checkpoint.build(blueprint, chosen, self._digests, sha256=sha256, between=between)
        return self._model.loaded

    def _drop_model(self) -> None:
        """Before the new one is read: two at once would need a GPU of twice the memory, all the time, for the
        sake of the rare load that fails after its header was found good."""
        self._model = None
        self._encoded.clear()
        # The error of a load that failed holds in a circle what had been read; until that is found it stays.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def admit(self, ticket: Ticket) -> None:
        """Begin a task; it takes part from the next round on."""
        if self._model is None:
            ticket.future.set_exception(NotLoaded("no checkpoint is loaded"))
            return
        self._jobs.append(Job(ticket, self._model))

    @torch.inference_mode()
    def play(self) -> None:
        """One round."""
        for job in self._jobs:
            job.drop_if_cancelled()
        self._encode_new_texts()
        evaluated = self._make_one_call()
        self._decode_pictures(limit=1 if evaluated else None)
        self._jobs = deque(job for job in self._jobs if job.work is not None)

    def fail_all(self, error: Exception) -> None:
        """End every job with this error."""
        for job in self._jobs:
            if job.work is not None:
                job.fail(error)
        self._jobs.clear()

    def _encode_new_texts(self) -> None:
        for job in self._jobs:
            # A task asks for its texts one after the other.
            while isinstance(job.work, Encode):
                try:
                    answer = self._encode(job.work)
                except Exception as error:  # noqa: BLE001 - fails this job alone
                    job.fail(error)
                else:
                    job.advance(answer)

    def _encode(self, text: Encode) -> encoding.Conditioning:
        found = self._encoded.get(text)
        if found is None:
            found = encoding.encode(self._resident(), text.text, text.clip_skip, negative=text.negative)
            self._encoded.keep(text, found)
        return found

    def _make_one_call(self) -> bool:
        waiting = [(job, job.work) for job in self._jobs if isinstance(job.work, Evaluate)]
        if not waiting:
            return False
        picked = [waiting[i] for i in batching.choose([ask for _, ask in waiting], self._max_batch)]
        self._evaluate(picked)
        served = {id(job) for job, _ in picked}
        self._jobs = deque(sorted(self._jobs, key=lambda job: id(job) in served))
        return True

    def _evaluate(self, batch: Sequence[tuple[Job, Evaluate]]) -> None:
        """Call the network; if that fails, again in halves, so that only who cannot be served alone fails."""
        try:
            answers = self._timed_call(batch)
        except Exception as error:  # noqa: BLE001 - the culprit is found by halving
            if len(batch) == 1:
                batch[0][0].fail(error)
                return
            logger.warning(
                "a network call for %d evaluations failed, trying in halves: %s", len(batch), error
            )
            self._evaluate(batch[: len(batch) // 2])
            self._evaluate(batch[len(batch) // 2 :])
            return
        for (job, _), answer in zip(batch, answers, strict=True):
            job.advance(answer)

    def _timed_call(self, batch: Sequence[tuple[Job, Evaluate]]) -> list[torch.Tensor]:
        asks = [ask for _, ask in batch]
        began = time.perf_counter()
        answers = batching.evaluate(self._resident(), asks)
        if answers[0].is_cuda:
            # A GPU call returns before it is computed; without waiting, steps would be reported and
            # newcomers locked out ahead of time.
            torch.cuda.synchronize(answers[0].device)
        self._observer.unet_call(
            rows=batching.rows(asks),
            requests=len({job.ticket.request for job, _ in batch}),
            seconds=time.perf_counter() - began,
        )
        return answers

    def _decode_pictures(self, *, limit: int | None) -> None:
        finished = [(job, job.work) for job in self._jobs if isinstance(job.work, Decode)]
        for job, work in finished[:limit]:
            try:
                picture = self._resident().decode(work.latents)
            except Exception as error:  # noqa: BLE001 - fails this job alone
                job.fail(error)
            else:
                job.advance(picture)

    def _resident(self) -> Model:
        assert self._model is not None, "jobs are admitted only while a model is resident"
        return self._model
