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
OLD, NEW, NAMED = (
    LoadedCheckpoint(path=Path(path), sha256="ab" * 32, family="SD15", device=CPU, text_layers=4)
    for path in ("/old.safetensors", "/new.safetensors", "/named.safetensors")
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


async def test_an_interrupted_job_keeps_what_there_is_and_begins_no_iteration(queue, manual_engine, task):
    job = queue.submit([[task(seed=1), task(seed=2), task(seed=3)], [task(seed=4)]])
    await settle()
    first, second, third = manual_engine.tickets
    first.finish()
    job.interrupt()
    assert (second.interrupted, third.interrupted) == (True, True)
    third.fail(Cancelled("it had not begun"))
    await settle()
    assert not job.finished.done()
    second.finish(interrupted=True)
    outcome = await job.finished
    assert outcome.state is JobState.DONE
    assert [(each.index, each.made.interrupted) for each in outcome.pictures] == [(0, False), (1, True)]
    assert len(manual_engine.tickets) == 3
    assert not second.taken_back


async def test_a_skipped_iteration_is_ended_early_and_the_next_one_follows(queue, manual_engine, task):
    job = queue.submit([[task(seed=1)], [task(seed=2)]])
    await settle()
    job.skip()
    assert manual_engine.tickets[0].interrupted
    manual_engine.tickets[0].finish(interrupted=True)
    await settle()
    assert not job.skipped
    manual_engine.tickets[1].finish()
    outcome = await job.finished
    assert [(each.index, each.made.interrupted) for each in outcome.pictures] == [(0, True), (1, False)]


async def test_a_skipped_picture_that_had_not_begun_is_left_out(queue, manual_engine, task):
    job = queue.submit([[task(seed=1)], [task(seed=2)]])
    await settle()
    job.skip()
    manual_engine.tickets[0].fail(Cancelled("it had not begun"))
    await settle()
    manual_engine.tickets[1].finish()
    assert [picture.index for picture in (await job.finished).pictures] == [1]


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
    outcome = await job.finished
    assert outcome.state is JobState.CANCELLED
    assert "this replica ended" in str(outcome.error)


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


async def test_a_job_tells_how_far_it_is_over_iterations_pictures_and_passes(queue, manual_engine, task):
    job = queue.submit([[task(steps=4), task(steps=4)], [task(steps=4), task(steps=4)]])
    await settle()
    assert (job.progress, job.slowest.done, job.slowest.of) == (0.0, 0, 4)
    first, second = manual_engine.tickets
    first.step(2)
    second.step(4)
    assert (job.progress, job.slowest.done) == (0.375, 2)
    first.step(2, part=1, parts=2)
    second.step(4, part=1, parts=2)
    assert (job.within, job.progress, job.slowest.part) == (0.875, 0.4375, 1)
    first.finish()
    second.finish()
    await settle()
    assert (job.progress, job.iteration) == (0.5, 1)
    for ticket in manual_engine.open:
        ticket.finish()
    await job.finished
    assert job.progress == 1.0


async def test_steps_that_are_kept_hold_no_latents(queue, manual_engine, task):
    job = queue.submit([[task()]])
    await settle()
    manual_engine.tickets[0].step(1, denoised=object())
    assert job.slowest.done == 1
    assert job.slowest.denoised is None


async def test_a_job_is_of_the_checkpoint_that_the_engine_began_it_with(queue, manual_engine, task):
    job = queue.submit([[task(checkpoint=NAMED.path)]])
    await settle()
    assert job.checkpoint is OLD
    manual_engine.tickets[0].loaded = NAMED
    manual_engine.tickets[0].finish()
    await job.finished
    assert job.checkpoint is NAMED


async def test_waiting_jobs_have_places_and_running_ones_none(queue, manual_engine, task):
    jobs = [queue.submit([[task()]]) for _ in range(3)]
    await settle()
    assert [queue.position(job) for job in jobs] == [1, 2, 3]
    manual_engine.tickets[1].step(1)
    assert [queue.position(job) for job in jobs] == [1, 0, 2]


async def test_a_job_is_found_by_the_name_that_its_client_gave_it_until_it_has_ended(
    queue, manual_engine, task
):
    job = queue.submit([[task()]], label="mine")
    queue.submit([[task()]])
    await settle()
    assert (queue.find("mine"), queue.find("other"), queue.has_ended("mine")) == (job, None, False)
    manual_engine.tickets[0].finish()
    await job.finished
    await settle()
    assert (queue.find("mine"), queue.has_ended("mine"), queue.has_ended("other")) == (None, True, False)


async def test_a_preview_is_of_a_picture_that_has_made_a_step_and_is_not_finished(queue, manual_engine, task):
    job = queue.submit([[task(seed=1), task(seed=2)]])
    await settle()
    assert await queue.preview(job) is None
    first, second = manual_engine.tickets
    first.step(1)
    second.step(1)
    assert (await queue.preview(job))[0, 0, 0] == 1
    first.finish()
    await settle()
    assert (await queue.preview(job))[0, 0, 0] == 2
    second.finish()
    await job.finished
    assert await queue.preview(job) is None


class Clock:
    """Time that the test lets pass."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def timed_queue(manual_engine, clock):
    queue = JobQueue(limit=2, clock=clock)
    queue.serve_with(manual_engine, OLD)
    return queue


async def make_steps(clock, *tickets, seconds, steps):
    for done in range(1, steps + 1):
        clock.now += seconds
        for ticket in tickets:
            ticket.step(done)


async def test_when_a_job_will_have_ended_follows_from_the_measured_rate_and_the_others_steps(
    timed_queue, manual_engine, task, clock
):
    queue = timed_queue
    long, short = queue.submit([[task(steps=40)]]), queue.submit([[task(steps=10)]])
    await settle()
    assert (queue.eta(long), queue.eta(short)) == (None, None)
    await make_steps(clock, *manual_engine.tickets, seconds=0.5, steps=5)
    # Four steps a second. The short one has 5 steps left, and meanwhile the long one makes 5 of its own.
    assert queue.eta(short) == pytest.approx(10 / 4)
    assert queue.eta(long) == pytest.approx((35 + 5) / 4)
    for ticket in manual_engine.tickets:
        ticket.finish()
    await short.finished
    assert queue.eta(short) == 0


async def test_time_in_which_there_was_nothing_to_do_does_not_count_to_the_rate(
    timed_queue, manual_engine, task, clock
):
    for _ in range(2):
        job = timed_queue.submit([[task(steps=5)]])
        await settle()
        ticket = manual_engine.tickets[-1]
        await make_steps(clock, ticket, seconds=1, steps=4)
        assert timed_queue.eta(job) == pytest.approx(1)
        ticket.finish()
        await job.finished
        clock.now += 3600


@pytest.mark.parametrize(("seconds", "wait"), [(0.001, 1), (1.0, 6), (100.0, 60), (None, 5)])
async def test_who_is_turned_away_is_told_when_a_place_is_likely_to_be_free(
    timed_queue, manual_engine, task, clock, seconds, wait
):
    for _ in range(2):
        timed_queue.submit([[task(steps=8)]])
    await settle()
    if seconds:
        await make_steps(clock, *manual_engine.tickets, seconds=seconds, steps=2)
    with pytest.raises(QueueFull, match="2 requests are unfinished") as refusal:
        timed_queue.submit([[task()]])
    assert refusal.value.retry_after == wait
