"""Jobs: in which order pictures are computed, how a job ends early, how many are accepted."""

import asyncio
from pathlib import Path

import pytest

from sd_runtime.device import DeviceInfo
from sd_runtime.errors import Cancelled, GenerationError, NotLoaded, QueueFull, UnsupportedError
from sd_runtime.jobs.job import JobState
from sd_runtime.jobs.queue import Draining, JobQueue
from sd_runtime.models import LoadedCheckpoint

CPU = DeviceInfo(type="cpu", name="", dtype="float32")
OLD, NEW = (
    LoadedCheckpoint(path=Path(path), sha256="ab" * 32, family="SD15", device=CPU, text_layers=4)
    for path in ("/old.safetensors", "/new.safetensors")
)


async def settle():
    """Lets everything that can go on go on."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def queue(manual_engine):
    queue = JobQueue(limit=3, clock=lambda: 100.0)
    queue.serve_with(manual_engine, OLD)
    return queue


async def test_the_pictures_of_an_iteration_are_handed_over_together_and_those_of_the_next_after_it(
    queue, manual_engine, task
):
    job = queue.submit([[task(seed=1), task(seed=2)], [task(seed=3)]])
    await settle()
    assert [ticket.task.seed for ticket in manual_engine.tickets] == [1, 2]
    manual_engine.tickets[1].finish()
    await settle()
    assert len(manual_engine.tickets) == 2
    manual_engine.tickets[0].finish()
    await settle()
    assert [ticket.task.seed for ticket in manual_engine.tickets] == [1, 2, 3]
    manual_engine.tickets[2].finish()
    outcome = await job.finished
    assert [(picture.index, int(picture.pixels[0, 0, 0])) for picture in outcome.pictures] == [
        (0, 1),
        (1, 2),
        (2, 3),
    ]


async def test_the_pictures_of_a_job_are_one_request_to_the_engine_and_those_of_another_are_not(
    queue, manual_engine, task
):
    queue.submit([[task(), task()]])
    queue.submit([[task()]])
    await settle()
    first, second, third = (ticket.request for ticket in manual_engine.tickets)
    assert first == second != third


async def test_a_job_is_queued_until_its_first_step(queue, manual_engine, task):
    job = queue.submit([[task()]])
    await settle()
    assert (job.state, queue.waiting()) == (JobState.QUEUED, 1)
    manual_engine.tickets[0].step(1)
    assert (job.state, queue.waiting()) == (JobState.RUNNING, 0)
    manual_engine.tickets[0].finish()
    await job.finished
    assert job.state is JobState.DONE


async def test_jobs_run_side_by_side(queue, manual_engine, task):
    first, second = queue.submit([[task(seed=1)]]), queue.submit([[task(seed=2)]])
    await settle()
    manual_engine.tickets[1].finish()
    await second.finished
    assert not first.finished.done()
    assert queue.oldest() is first


async def test_one_job_more_than_the_limit_is_refused_until_one_has_ended(queue, manual_engine, task):
    jobs = [queue.submit([[task()]]) for _ in range(3)]
    with pytest.raises(QueueFull, match="3 requests"):
        queue.submit([[task()]])
    await settle()
    manual_engine.tickets[0].finish()
    await jobs[0].finished
    queue.submit([[task()]])


async def test_nothing_is_accepted_before_the_engine_has_its_checkpoint(task):
    with pytest.raises(NotLoaded):
        JobQueue(limit=1).submit([[task()]])


async def test_an_interrupted_job_keeps_finished_pictures_and_begins_no_iteration(queue, manual_engine, task):
    job = queue.submit([[task(seed=1), task(seed=2)], [task(seed=3)]])
    await settle()
    manual_engine.tickets[0].finish()
    job.interrupt()
    outcome = await job.finished
    assert outcome.state is JobState.DONE
    assert [picture.index for picture in outcome.pictures] == [0]
    assert len(manual_engine.tickets) == 2


async def test_a_skipped_iteration_is_given_up_and_the_next_one_follows(queue, manual_engine, task):
    job = queue.submit([[task(seed=1)], [task(seed=2)]])
    await settle()
    job.skip()
    await settle()
    assert not job.skipped
    manual_engine.tickets[1].finish()
    outcome = await job.finished
    assert [picture.index for picture in outcome.pictures] == [1]


async def test_a_cancelled_job_has_no_pictures_and_takes_back_what_the_engine_has(queue, manual_engine, task):
    job = queue.submit([[task(), task()], [task()]])
    await settle()
    manual_engine.tickets[0].finish()
    job.cancel()
    outcome = await job.finished
    assert (outcome.state, outcome.pictures) == (JobState.CANCELLED, ())
    assert isinstance(outcome.error, Cancelled)
    assert manual_engine.tickets[1].taken_back
    assert len(manual_engine.tickets) == 2


async def test_a_job_cancelled_before_it_began_hands_nothing_over(queue, manual_engine, task):
    job = queue.submit([[task()]])
    job.cancel()
    assert (await job.finished).state is JobState.CANCELLED
    assert manual_engine.tickets == []


async def test_the_first_failure_ends_the_job_and_takes_its_other_pictures_back(queue, manual_engine, task):
    job = queue.submit([[task(), task()], [task()]])
    await settle()
    manual_engine.tickets[1].fail(GenerationError("not a number"))
    outcome = await job.finished
    assert outcome.state is JobState.FAILED
    assert str(outcome.error) == "not a number"
    assert manual_engine.tickets[0].taken_back
    assert queue.oldest() is None


async def test_a_picture_refused_on_handing_over_takes_the_earlier_ones_back(refusing_engine, task):
    queue = JobQueue(limit=1)
    queue.serve_with(refusing_engine, OLD)
    outcome = await queue.submit([[task(), task()]]).finished
    assert isinstance(outcome.error, UnsupportedError)
    assert refusing_engine.tickets[0].taken_back


async def test_an_unforeseen_failure_is_logged_and_not_told(queue, manual_engine, task, caplog):
    job = queue.submit([[task()]])
    await settle()
    manual_engine.tickets[0].fail(KeyError("secret detail"))
    outcome = await job.finished
    assert isinstance(outcome.error, GenerationError)
    assert job.id in str(outcome.error)
    assert "secret detail" not in str(outcome.error)
    assert "secret detail" in caplog.text


async def test_pictures_taken_back_by_the_engine_itself_are_a_failure(queue, manual_engine, task):
    job = queue.submit([[task()]])
    await settle()
    manual_engine.tickets[0].fail(Cancelled("the engine is shutting down"))
    assert (await job.finished).state is JobState.FAILED


async def test_draining_refuses_new_jobs_and_waits_for_the_accepted(queue, manual_engine, task):
    job = queue.submit([[task()]])
    queue.stop_accepting()
    with pytest.raises(Draining):
        queue.submit([[task()]])
    waiting = asyncio.create_task(queue.drained(60))
    await settle()
    assert not waiting.done()
    manual_engine.tickets[0].finish()
    assert await waiting
    assert (await job.finished).state is JobState.DONE


async def test_draining_gives_up_what_is_late(queue, manual_engine, task):
    job = queue.submit([[task()]])
    await settle()
    assert not await queue.drained(0)
    assert (await job.finished).state is JobState.CANCELLED


async def test_draining_with_nothing_accepted_is_done_at_once(queue):
    assert await queue.drained(60)


async def test_while_the_queue_holds_what_has_begun_goes_on_to_its_last_iteration(queue, manual_engine, task):
    job = queue.submit([[task(seed=1)], [task(seed=2)]])
    await settle()
    queue.hold()
    idle = asyncio.create_task(queue.idle())
    manual_engine.tickets[0].finish()
    await settle()
    assert not idle.done()
    manual_engine.tickets[1].finish()
    await idle
    assert len((await job.finished).pictures) == 2
    assert job.checkpoint is OLD


async def test_what_is_accepted_while_the_queue_holds_waits_and_runs_with_the_next_checkpoint(
    queue, manual_engine, task
):
    queue.hold()
    job = queue.submit([[task()]])
    await queue.idle()
    await settle()
    assert (manual_engine.tickets, job.state, queue.waiting()) == ([], JobState.QUEUED, 1)
    queue.serve_with(manual_engine, NEW)
    await settle()
    manual_engine.tickets[0].finish()
    assert (await job.finished).state is JobState.DONE
    assert job.checkpoint is NEW


async def test_jobs_that_are_held_back_count_to_the_limit(queue, task):
    queue.hold()
    for _ in range(3):
        queue.submit([[task()]])
    with pytest.raises(QueueFull, match="3 requests"):
        queue.submit([[task()]])


@pytest.mark.parametrize(("way", "state"), [("cancel", JobState.CANCELLED), ("interrupt", JobState.DONE)])
async def test_a_job_that_is_held_back_can_be_ended_at_once(queue, manual_engine, task, way, state):
    queue.hold()
    job = queue.submit([[task()]])
    getattr(job, way)()
    outcome = await job.finished
    assert (outcome.state, outcome.pictures, queue.oldest()) == (state, (), None)
    assert manual_engine.tickets == []


async def test_when_there_is_no_checkpoint_any_more_what_is_held_back_fails_and_more_is_refused(queue, task):
    queue.hold()
    job = queue.submit([[task()]])
    queue.serve_nothing()
    assert isinstance((await job.finished).error, NotLoaded)
    with pytest.raises(NotLoaded):
        queue.submit([[task()]])


async def test_draining_waits_for_what_is_held_back_and_gives_it_up_when_late(queue, task):
    queue.hold()
    job = queue.submit([[task()]])
    assert not await queue.drained(0)
    assert (await job.finished).state is JobState.CANCELLED
