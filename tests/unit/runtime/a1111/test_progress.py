"""Progress numbers of a job, by A1111's formula."""

import asyncio
from datetime import datetime
from pathlib import Path

import pytest

from sd_runtime.a1111 import progress
from sd_runtime.device import DeviceInfo
from sd_runtime.jobs.job import Job, JobId
from sd_runtime.models import LoadedCheckpoint
from sd_runtime.tasks.txt2img import Txt2Img

TASK = Txt2Img(
    prompt="",
    negative_prompt="",
    width=64,
    height=64,
    steps=20,
    cfg_scale=7.0,
    sampler="Euler",
    scheduler="automatic",
    seed=1,
)


@pytest.fixture
async def job():
    return Job(
        id=JobId("1"),
        iterations=((TASK, TASK), (TASK, TASK)),
        accepted_at=100.0,
        timestamp=datetime(2030, 1, 31, 12, 34, 56),
        finished=asyncio.get_running_loop().create_future(),
        checkpoint=LoadedCheckpoint(
            path=Path("/a.safetensors"),
            sha256="",
            family="SD15",
            device=DeviceInfo(type="cpu", name="", dtype="float32"),
            text_layers=4,
        ),
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
    assert told.state["job_count"] == 2


async def test_progress_counts_iterations_and_steps_within_them(job):
    job.begin(1)
    job.started_at = 110.0
    job.steps_done = [10, 20]
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


async def test_progress_never_passes_one(job):
    job.begin(1)
    job.started_at = 100.0
    job.steps_done = [20, 20]
    assert progress.describe(job, 101.0).progress == 1


async def test_an_interrupted_job_says_so(job):
    job.interrupt()
    assert progress.describe(job, 101.0).state["interrupted"] is True
