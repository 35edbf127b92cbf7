"""Progress numbers of a job, by A1111's formula."""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from sd_runtime.a1111 import progress
from sd_runtime.device import DeviceInfo
from sd_runtime.engine.work import Step
from sd_runtime.jobs.job import Job, JobId
from sd_runtime.models import LoadedCheckpoint


class Task:
    """All that a job asks of one before it begins."""

    checkpoint = None
    steps = 20

    def run(self, model: Any, on_step: Any) -> Any:
        raise NotImplementedError


@pytest.fixture
async def job():
    task = Task()
    loaded = {
        "path": Path("/a.safetensors"),
        "sha256": "",
        "family": "SD15",
        "device": DeviceInfo(type="cpu", name="", dtype="float32"),
        "text_layers": 4,
    }
    return Job(
        id=JobId("1"),
        iterations=((task, task), (task, task)),
        accepted_at=100.0,
        timestamp=datetime(2030, 1, 31, 12, 34, 56),
        finished=asyncio.get_running_loop().create_future(),
        checkpoint=LoadedCheckpoint(**loaded),
    )


def test_without_a_job_everything_is_zero_and_all_keys_are_there():
    told = progress.describe(None, 5.0)
    assert (told.progress, told.eta_relative, told.current_image, told.textinfo) == (0, 0, None, None)
    assert told.state == {
        "skipped": False,
        "interrupted": False,
        "stopping_generation": False,
        "job": "",
        "job_count": 0,
        "job_timestamp": "0",
        "job_no": 0,
        "sampling_step": 0,
        "sampling_steps": 0,
    }


async def test_an_accepted_job_has_begun(job):
    told = progress.describe(job, 101.0)
    assert told.progress == pytest.approx(0.01)
    assert (told.state["job_count"], told.state["sampling_steps"]) == (2, 20)


async def test_progress_counts_iterations_and_steps_within_them(job):
    job.begin(1)
    job.started_at = 110.0
    job.note_step(0, Step(10, 20))
    job.note_step(1, Step(20, 20))
    told = progress.describe(job, 110.0 + 8.8)
    assert told.progress == pytest.approx(0.01 + 1 / 2 + 1 / 2 * 30 / 40)
    assert told.eta_relative == pytest.approx(8.8 / 0.885 - 8.8)
    assert told.state == {
        "skipped": False,
        "interrupted": False,
        "stopping_generation": False,
        "job": "Batch 2 out of 2",
        "job_count": 2,
        "job_timestamp": "20300131123456",
        "job_no": 1,
        "sampling_step": 10,
        "sampling_steps": 20,
    }


async def test_a_second_pass_counts_as_much_as_the_first(job):
    job.begin(0)
    for picture in (0, 1):
        job.note_step(picture, Step(5, 10, part=1, parts=2))
    told = progress.describe(job, 101.0)
    assert told.progress == pytest.approx(0.01 + 1 / 2 * 3 / 4)
    assert (told.state["sampling_step"], told.state["sampling_steps"]) == (5, 10)


async def test_a_measured_rest_is_told_in_place_of_a_guess(job):
    assert progress.describe(job, 101.0, eta=12.5).eta_relative == 12.5


async def test_progress_never_passes_one(job):
    job.begin(1)
    job.started_at = 100.0
    for picture in (0, 1):
        job.note_step(picture, Step(20, 20))
    assert progress.describe(job, 101.0).progress == 1


async def test_an_interrupted_job_says_so(job):
    job.interrupt()
    assert progress.describe(job, 101.0).state["interrupted"] is True
