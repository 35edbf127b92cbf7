"""Many at once: nobody is left without an answer, and nobody's job is lost among the replicas' jobs."""

import asyncio
import socket
from collections import Counter

import httpx

from sd_runtime import serving
from sd_runtime.app import create_app

USER = ("alice", "s3cret:with colon")
SMALL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4, "seed": 7}


async def finish_what_comes(engine):
    """A device that takes a moment for each picture, several at a time."""
    while True:
        await asyncio.sleep(0.02)
        for ticket in engine.open[:8]:
            ticket.step(4)
            ticket.finish()


async def test_of_500_clients_at_once_each_gets_a_picture_or_is_told_to_come_again(slow_world, until):
    settings = slow_world.services.settings
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = serving.server(
        create_app(slow_world.services),
        host="127.0.0.1",
        port=port,
        connections=serving.SPARE_CONNECTIONS + settings.queue_limit,
    )
    serving_it = asyncio.create_task(server.serve())
    device = asyncio.create_task(finish_what_comes(slow_world.engine))
    await until(lambda: server.started)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(auth=USER, limits=limits, timeout=120) as client:
        url = f"http://127.0.0.1:{port}/sdapi/v1/txt2img"
        answers = await asyncio.gather(*(client.post(url, json=SMALL) for _ in range(500)))
    counts = Counter(answer.status_code for answer in answers)
    assert set(counts) <= {200, 429}
    assert counts[200] >= settings.queue_limit
    for answer in answers:
        if answer.status_code == 429:
            assert 1 <= int(answer.headers["retry-after"]) <= 60
        else:
            assert len(answer.json()["images"]) == 1
    assert slow_world.services.queue.oldest() is None
    device.cancel()
    server.should_exit = True
    await serving_it
