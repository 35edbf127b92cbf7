"""A look at a picture under way."""

import asyncio

from sd_runtime.images import codec
from sd_runtime.jobs.job import Job
from sd_runtime.routes.services import Services


async def png_of(services: Services, job: Job) -> bytes | None:
    """One of the job's pictures as it looks now, small; None before the first step, after the end, and while
    the option live_previews_enable is off."""
    # Outside of the event loop: options are judged against the files there are.
    options = await asyncio.to_thread(services.options_with, {})
    if not options.previews:
        return None
    pixels = await services.queue.preview(job)
    return None if pixels is None else await asyncio.to_thread(codec.encode, pixels, "png", None)
