"""Waiting for a job while watching the client: one that goes away cancels its job."""

import asyncio
from typing import Any

from fastapi import Request

from sd_runtime.jobs.job import Job, Outcome


class ClientGone(Exception):
    """The client closed the connection; nobody reads an answer."""


async def until_finished(job: Job, request: Request) -> Outcome:
    """The outcome of the job; raises `ClientGone`, and cancels the job, when the client disconnects first."""
    gone = asyncio.create_task(_disconnected(request))
    either: set[asyncio.Future[Any]] = {gone, job.finished}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not job.finished.done():
            raise ClientGone
        return job.finished.result()
    finally:
        gone.cancel()
        # Also when this task itself is cancelled: then nobody reads an answer either.
        if not job.finished.done():
            job.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
