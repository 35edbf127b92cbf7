"""The ledger: what became of a job is known for a while, and one id of a client's is one job."""

import asyncio
from datetime import datetime

import pytest

from sd_runtime.errors import GenerationError
from sd_runtime.jobs.job import Job, JobState, Outcome
from sd_runtime.jobs.ledger import Conflict, JobCancelled, Ledger, NotFinished, UnknownJob

DONE = Outcome(state=JobState.DONE)


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
def ledger(clock):
    return Ledger(keep_seconds=60, keep_bytes=100, clock=clock)


@pytest.fixture
async def add(ledger, task):
    """Adds a job; ended with this outcome and answer, where one is given."""
    number = 0

    async def adding(outcome=None, answer=b"made", *, client_id=None, request="asked"):
        nonlocal number
        number += 1
        job = Job(
            id=str(number),
            iterations=((task(),),),
            accepted_at=0.0,
            timestamp=datetime.now(),
            finished=asyncio.get_running_loop().create_future(),
            checkpoint=None,
        )

        async def finish(outcome):
            if isinstance(answer, Exception):
                raise answer
            return answer

        record = ledger.add(job, kind="txt2img", request=request, client_id=client_id, finish=finish)
        if outcome is not None:
            job.finished.set_result(outcome)
            await record.ended.wait()
        return record

    return adding


async def test_a_job_is_known_from_its_acceptance_and_its_answer_once_it_has_ended(ledger, add):
    record = await add()
    assert ledger.get("1") is record
    assert record.state is JobState.QUEUED
    with pytest.raises(NotFinished, match="queued"):
        record.collect()
    record.job.finished.set_result(DONE)
    await record.ended.wait()
    assert (record.state, record.collect(), record.job) == (JobState.DONE, b"made", None)


async def test_an_unknown_job_is_named(ledger):
    with pytest.raises(UnknownJob, match="no job zzz"):
        ledger.get("zzz")


async def test_a_failed_job_tells_its_error_to_everybody_who_asks(add):
    record = await add(Outcome(state=JobState.FAILED), GenerationError("not a number"))
    for _ in range(2):
        with pytest.raises(GenerationError, match="not a number"):
            record.collect()
    assert record.state is JobState.FAILED


async def test_an_answer_that_cannot_be_made_is_a_failure_that_is_logged_and_not_told(add, caplog):
    record = await add(DONE, KeyError("secret detail"))
    with pytest.raises(GenerationError, match="job 1") as error:
        record.collect()
    assert "secret detail" not in str(error.value)
    assert "secret detail" in caplog.text


async def test_a_cancelled_job_has_no_answer(add):
    record = await add(Outcome(state=JobState.CANCELLED))
    assert record.state is JobState.CANCELLED
    with pytest.raises(JobCancelled):
        record.collect()


async def test_what_ended_long_ago_is_forgotten_and_what_has_not_ended_is_not(ledger, add, clock):
    running, ended = await add(), await add(DONE)
    clock.now += 59
    assert ledger.all() == (running, ended)
    clock.now += 2
    assert ledger.all() == (running,)
    with pytest.raises(UnknownJob, match="60 seconds"):
        ledger.get("2")


async def test_of_more_bytes_than_are_kept_the_oldest_go_but_never_the_newest(ledger, add, clock):
    await add(DONE, b"x" * 40)
    clock.now += 1
    await add(DONE, b"x" * 60)
    assert len(ledger.all()) == 2
    clock.now += 1
    await add(DONE, b"x" * 41)
    assert [record.id for record in ledger.all()] == ["3"]
    clock.now += 1
    huge = await add(DONE, b"x" * 1000)
    assert ledger.all() == (huge,)


async def test_the_same_request_with_a_clients_id_is_found_and_another_one_is_refused(ledger, add):
    record = await add(client_id="mine", request="a cat")
    assert ledger.known("mine", "a cat") is record
    assert ledger.known("yours", "a cat") is None
    assert ledger.known(None, "a cat") is None
    with pytest.raises(Conflict, match="'mine' is that of another request"):
        ledger.known("mine", "a dog")


async def test_a_clients_id_is_free_again_when_its_job_is_forgotten(ledger, add, clock):
    await add(DONE, client_id="mine", request="a cat")
    clock.now += 61
    assert ledger.known("mine", "a dog") is None


async def test_those_who_create_with_one_id_take_turns_and_others_do_not_wait(ledger):
    order = []

    async def create(client_id, name, go_on):
        async with ledger.creating(client_id):
            order.append(f"{name} begins")
            await go_on.wait()
            order.append(f"{name} ends")

    first, rest = asyncio.Event(), asyncio.Event()
    tasks = [
        asyncio.create_task(create("mine", "first", first)),
        asyncio.create_task(create("mine", "second", rest)),
        asyncio.create_task(create("yours", "other", rest)),
        asyncio.create_task(create(None, "nameless", rest)),
    ]
    for _ in range(5):
        await asyncio.sleep(0)
    assert order == ["first begins", "other begins", "nameless begins"]
    first.set()
    rest.set()
    await asyncio.gather(*tasks)
    assert order.index("second begins") > order.index("first ends")


async def test_it_is_settled_when_every_answer_is_there_and_collected(ledger, add, clock):
    record = await add()
    settling = asyncio.create_task(ledger.settled(5))
    await asyncio.sleep(0.01)
    record.job.finished.set_result(DONE)
    await record.ended.wait()
    await asyncio.sleep(0.01)
    assert not settling.done()
    record.collect()
    await asyncio.wait_for(settling, 5)


async def test_nobody_is_waited_for_who_learned_that_there_is_nothing_to_collect(ledger, add):
    record = await add(Outcome(state=JobState.FAILED), GenerationError("not a number"))
    record.tell()
    await asyncio.wait_for(ledger.settled(5), 5)


async def test_nobody_is_waited_for_who_has_not_come_for_long(ledger, add, clock):
    await add(DONE)
    clock.now += 31
    await asyncio.wait_for(ledger.settled(5), 5)


async def test_nobody_is_waited_for_longer_than_told(ledger, add):
    await add(DONE)
    await asyncio.wait_for(ledger.settled(0), 5)
