"""What all requests together may take of memory while they come in and wait: bytes of bodies, pixels of
pictures that were sent along.

Each request alone is bounded by its limits; without this as many of the largest as there are connections
would be held at once.
"""

import asyncio
import threading
from types import TracebackType
from typing import Self

from sd_runtime import container
from sd_runtime.guards.budget import Budget
from sd_runtime.jobs.job import Job
from sd_runtime.jobs.queue import Full, JobQueue
from sd_runtime.settings import Settings

#: Largest bodies that are held at once.
_BODIES = 4
#: Seconds that a request waits for others to give back what it needs.
_PATIENCE = 5.0
#: Pictures that are decoded at once: that takes several times their size for a moment.
_DECODERS = 2
#: Pictures that are fetched at once, each of which may be as large as a body.
_FETCHES = 8
#: Of one request, after which memory is given back, and seconds between that and the end of such a request:
#: its answer is still being sent.
_MANY_PIXELS, _TIDY_SECONDS = 1024 * 1024, 5.0
#: Of a pixel with its alpha channel.
_BYTES_A_PIXEL = 4


class Intake:
    """The budgets of one server."""

    def __init__(self, settings: Settings, queue: JobQueue, *, patience: float = _PATIENCE) -> None:
        self.bodies = Budget(_BODIES * settings.max_body_bytes, patience=patience)
        # Whatever one request may bring alone fits, if nobody else holds anything, and the maps that are made
        # of it for ControlNets.
        least = 2 * settings.max_pixels_per_request + settings.max_input_pixels + settings.max_body_bytes
        self.pixels = Budget(max(settings.max_pixels_in_flight, least), patience=patience)
        #: Held while a large body is read.
        self.reading = asyncio.Lock()
        self.decoding = asyncio.Semaphore(_DECODERS)
        self.fetching = asyncio.Semaphore(_FETCHES)
        self._queue = queue
        self._tidying: asyncio.TimerHandle | None = None

    def holding(self) -> "Held":
        """What one request holds, which is nothing yet."""
        return Held(self, self._queue)

    def give_back(self, pixels: int) -> None:
        """So many are not held any more. A while after the last of many have gone the process gives back the
        memory that the allocator keeps of them: that stays as large as the largest burst was."""
        self.pixels.give_back(pixels)
        if pixels >= _MANY_PIXELS and self._tidying is None:
            self._tidying = asyncio.get_running_loop().call_later(_TIDY_SECONDS, self._tidy)

    def _tidy(self) -> None:
        self._tidying = None
        threading.Thread(target=container.give_back_free, name="tidy", daemon=True).start()


class Held:
    """The pixels of one request's pictures. Given back at the end of the `with` block, or when the job that
    they were handed to has ended."""

    def __init__(self, intake: Intake, queue: JobQueue) -> None:
        self._intake = intake
        self._pixels = intake.pixels
        self._queue = queue
        self._amount = 0
        self._handed_over = False

    async def take(self, amount: int) -> None:
        """So many more; raises `Full` where other requests hold too many for too long."""
        if not await self._pixels.take(amount):
            raise Full(
                f"the pictures of requests under way take {self._pixels.held} pixels, and at most"
                f" {self._pixels.most} are held at once; try again shortly",
                retry_after=self._queue.seconds_until_place(),
            )
        self._amount += amount

    async def take_text(self, text: str) -> None:
        """As many as a text that is kept has bytes for."""
        await self.take(len(text) // _BYTES_A_PIXEL)

    def hand_over(self, job: Job) -> Job:
        """Until this job has ended."""
        self._handed_over = True
        job.finished.add_done_callback(lambda _: self._give_back())
        return job

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._handed_over:
            self._give_back()

    def _give_back(self) -> None:
        self._intake.give_back(self._amount)
        self._amount = 0
