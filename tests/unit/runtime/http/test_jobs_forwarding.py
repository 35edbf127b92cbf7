"""Several replicas behind one name: each answers for every job. Real servers, each at a loopback address of
its own, with the same port; which of them there are is told by the test.
"""

import asyncio
import base64
import contextlib
import json
import socket
from collections import Counter
from contextlib import AsyncExitStack

import httpx
import pytest

from sd_runtime import serving
from sd_runtime.app import create_app
from sd_runtime.jobs import identity
from sd_runtime.routes.forwarding import HOP, Peers, ReplicaGone, ReplicaUnreachable, resolve

JOBS = "/v1/jobs"
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
ASKED = {
    "kind": "txt2img",
    "parameters": {"prompt": "a cat", "width": 64, "height": 64, "steps": 4, "seed": 7},
}
USER = ("alice", "s3cret:with colon")


def free_port():
    """One that is free at all the addresses, as they are of one machine."""
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return probe.getsockname()[1]


class Names:
    """A name server that the test writes."""

    def __init__(self, *addresses):
        self.addresses = set(addresses)
        self.is_broken = False
        self.asked = 0

    async def __call__(self, name):
        self.asked += 1
        if self.is_broken:
            raise OSError("no answer")
        assert name == "replicas.test"
        return frozenset(self.addresses)


class Replica:
    """One server with an engine of its own."""

    def __init__(self, world, address, port):
        self.world, self.address, self.port = world, address, port
        self.server = serving.server(create_app(world.services), host=address, port=port)

    @property
    def engine(self):
        return self.world.engine

    def client(self, **given):
        auth = httpx.BasicAuth(*USER)
        return httpx.AsyncClient(base_url=f"http://{self.address}:{self.port}", auth=auth, **given)


@pytest.fixture
def names():
    return Names(*ADDRESSES)


@pytest.fixture
async def replicas(make_world, manual_engine, until, names):
    """Three that are ready, and whose pictures the test finishes."""
    port = free_port()
    made, running = [], []
    for address in ADDRESSES:
        engine = type(manual_engine)()
        world = make_world(engine, port=port, peers="replicas.test", pod_ip=address)
        world.services.peers = Peers(
            name="replicas.test", own=address, port=port, resolve=names, clock=lambda: 1e9 * names.asked
        )
        await world.load()
        made.append(Replica(world, address, port))
        running.append(asyncio.create_task(made[-1].server.serve()))
    await until(lambda: all(replica.server.started for replica in made))
    yield made
    for replica in made:
        replica.server.should_exit = True
        await replica.world.services.peers.close()
    await asyncio.gather(*running)


async def hand_in(replica, until, asked=ASKED, **request):
    async with replica.client() as client:
        response = await client.post(JOBS, json=asked, **request)
    assert response.status_code in (200, 202), response.text
    return response.json()["id"]


async def get(replica, path):
    async with replica.client() as client:
        return await client.get(f"{JOBS}/{path}")


async def test_every_replica_tells_of_a_job_and_fetches_its_result(replicas, until):
    first, second, third = replicas
    job = await hand_in(first, until)
    await until(lambda: first.engine.tickets)
    for replica in replicas:
        assert (await get(replica, job)).json()["id"] == job
    first.engine.tickets[0].step(1)
    assert (await get(second, f"{job}/preview")).content.startswith(b"\x89PNG")
    first.engine.tickets[0].finish()
    results = set()
    for replica in (second, third, first):
        for _ in range(100):
            response = await get(replica, f"{job}/result")
            if response.status_code != 409:
                break
        assert response.headers["content-type"] == "application/json"
        results.add(response.text)
    (result,) = results
    assert base64.b64decode(json.loads(result)["images"][0]).startswith(b"\x89PNG")


async def test_every_replica_takes_a_job_back(replicas, until):
    first, second, _ = replicas
    job = await hand_in(first, until)
    async with second.client() as client:
        assert (await client.delete(f"{JOBS}/{job}")).json()["state"] == "cancelled"
    assert (await get(first, job)).json()["state"] == "cancelled"


async def test_events_come_through_another_replica_while_they_happen(replicas, until):
    first, second, _ = replicas
    job = await hand_in(first, until)
    await until(lambda: first.engine.tickets)
    told = []
    async with second.client() as client, client.stream("GET", f"{JOBS}/{job}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                told.append(line.removeprefix("event: "))
                if len(told) == 1:
                    first.engine.tickets[0].step(1)
                elif len(told) == 2:
                    first.engine.tickets[0].finish()
    assert told == ["state", "state", "end"]


async def test_a_watcher_of_another_replicas_job_may_leave(replicas, until):
    first, second, _ = replicas
    job = await hand_in(first, until)
    async with second.client() as client:
        with contextlib.suppress(httpx.ReadTimeout):
            async with client.stream("GET", f"{JOBS}/{job}/events", timeout=0.5) as response:
                async for _ in response.aiter_lines():
                    pass
    assert (await get(second, job)).status_code == 200


async def test_a_replica_that_is_gone_is_told_with_410(replicas, until, names):
    first, second, _ = replicas
    job = await hand_in(first, until)
    names.addresses.remove(first.address)
    for way in ("", "/result", "/preview", "/events"):
        response = await get(second, f"{job}{way}")
        assert (response.status_code, response.json()["error"]) == (410, "ReplicaGone")
        assert set(response.json()) == {"error", "detail", "body", "errors"}
    assert first.address in response.json()["detail"]


async def test_nobody_makes_a_replica_speak_to_other_addresses(replicas, until):
    secret = identity.new(identity.replica_called("127.0.0.9"))
    response = await get(replicas[0], secret)
    assert (response.status_code, response.json()["error"]) == (410, "ReplicaGone")


async def test_a_replica_that_does_not_answer_may_come_back(replicas, names):
    names.addresses.add("127.0.0.9")
    response = await get(replicas[1], identity.new(identity.replica_called("127.0.0.9")))
    assert (response.status_code, response.json()["error"]) == (503, "ReplicaUnreachable")
    assert "retry-after" in response.headers


async def test_while_the_name_leads_nowhere_the_own_jobs_are_told_and_others_not_denied(
    replicas, until, names
):
    first, second, _ = replicas
    job = await hand_in(first, until)
    names.is_broken = True
    assert (await get(first, job)).status_code == 200
    assert (await get(second, job)).status_code == 503


async def test_an_unknown_job_of_another_replica_is_not_found(replicas):
    response = await get(replicas[1], identity.new(identity.replica_called(ADDRESSES[0])))
    assert (response.status_code, response.json()["error"]) == (404, "NotFound")


async def test_what_was_passed_on_is_not_passed_on_again(replicas, until):
    first, second, _ = replicas
    job = await hand_in(first, until)
    async with second.client(headers={HOP: "x"}) as client:
        assert (await client.get(f"{JOBS}/{job}")).status_code == 404
        created = await client.post(JOBS, json=ASKED | {"id": "mine"})
    assert identity.replica_of(created.json()["id"]) == identity.replica_called(second.address)


async def test_the_credentials_are_passed_on_and_asked_for_first(replicas, until):
    first, second, _ = replicas
    job = await hand_in(first, until)
    async with httpx.AsyncClient(base_url=f"http://{second.address}:{second.port}") as stranger:
        assert (await stranger.get(f"{JOBS}/{job}")).status_code == 401
    assert (await get(second, job)).status_code == 200


async def test_a_clients_id_is_one_job_whichever_replicas_are_asked(replicas, until):
    jobs = Counter()
    for number in range(6):
        asked = ASKED | {"id": f"mine-{number}"}
        ids = {await hand_in(replica, until, asked) for replica in replicas}
        assert len(ids) == 1
        jobs[identity.replica_of(ids.pop())] += 1
    assert sum(jobs.values()) == 6
    assert len(jobs) > 1
    async with replicas[0].client() as client:
        refused = await client.post(JOBS, json=ASKED | {"kind": "img2img", "id": "mine-1"})
    assert refused.status_code == 409


async def test_when_the_responsible_replica_is_not_there_or_not_ready_the_next_one_is_it(
    replicas, until, names
):
    names.addresses.add("127.0.0.9")
    replicas[2].world.services.state.drain()
    for number in range(8):
        asked = ASKED | {"id": f"mine-{number}"}
        ids = {await hand_in(replica, until, asked) for replica in replicas[:2]}
        assert len(ids) == 1
    assert replicas[2].engine.tickets == []


async def test_of_50_jobs_handed_in_anywhere_and_asked_for_anywhere_none_is_missed(replicas, until):
    jobs = [await hand_in(replicas[number % 3], until) for number in range(50)]
    for round_ in range(3):
        answers = await asyncio.gather(
            *(get(replicas[(number + round_) % 3], job) for number, job in enumerate(jobs))
        )
        assert {answer.status_code for answer in answers} == {200}
        assert [answer.json()["id"] for answer in answers] == jobs


class Time:
    now = 0.0

    def __call__(self):
        return self.now


async def test_names_are_resolved_again_after_a_moment(names):
    clock = Time()
    peers = Peers(name="replicas.test", own="127.0.0.1", port=1, resolve=names, clock=clock)
    job = identity.new(identity.replica_called("127.0.0.2"))
    for _ in range(3):
        assert await peers.owner(job) == "127.0.0.2"
    assert names.asked == 1
    names.addresses.remove("127.0.0.2")
    clock.now += 3
    with pytest.raises(ReplicaGone):
        await peers.owner(job)


async def test_a_name_that_cannot_be_resolved_denies_nothing(names):
    names.is_broken = True
    peers = Peers(name="replicas.test", own="127.0.0.1", port=1, resolve=names)
    with pytest.raises(ReplicaUnreachable, match=r"replicas\.test"):
        await peers.owner(identity.new(identity.replica_called("127.0.0.2")))


async def test_the_system_resolves_to_addresses_in_their_shortest_form():
    assert await resolve("127.0.0.1") == {"127.0.0.1"}
    assert await resolve("0:0:0::1") == {"::1"}


@pytest.mark.parametrize("said", [socket.EAI_NONAME, socket.EAI_NODATA])
async def test_a_name_that_nobody_has_leads_to_no_other(said):
    async def look_up(*_, **__):
        raise socket.gaierror(said, "no such name")

    async def find(name):
        return await resolve(name, look_up)

    alone = Peers(name="replicas.test", own="127.0.0.1", port=1, resolve=find)
    assert await alone.in_order_for("mine") == [""]
    with pytest.raises(ReplicaGone):
        await alone.owner(identity.new(identity.replica_called("127.0.0.2")))


async def test_a_name_server_that_does_not_answer_is_no_answer():
    async def look_up(*_, **__):
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    with pytest.raises(socket.gaierror):
        await resolve("replicas.test", look_up)


async def test_alone_nothing_is_anothers(names):
    peers = Peers(name="", own="", port=1, resolve=names)
    assert await peers.owner(identity.new(identity.replica_called("127.0.0.2"))) is None
    assert await peers.in_order_for("mine") == [""]
    assert names.asked == 0


async def test_however_many_watch_through_another_replica_it_goes_on_answering(replicas, until):
    first, second, _ = replicas
    job = await hand_in(first, until)
    limits = httpx.Limits(max_connections=None)
    async with (
        second.client(limits=limits) as client,
        AsyncExitStack() as watching,
    ):
        for _ in range(105):
            stream = await watching.enter_async_context(client.stream("GET", f"{JOBS}/{job}/events"))
        assert stream.headers["x-accel-buffering"] == "no"
        answer = await asyncio.wait_for(client.get(f"{JOBS}/{job}"), 10)
        assert answer.status_code == 200
        first.engine.tickets[0].finish()
