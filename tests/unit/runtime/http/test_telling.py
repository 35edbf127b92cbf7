"""How far a request is: progress of the oldest one, and of a task by its name."""

import asyncio
import base64
import io

import pytest
from PIL import Image

TXT2IMG = "/sdapi/v1/txt2img"
SMALL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4, "seed": 7}
NAMED = SMALL | {"force_task_id": "task(mine)"}


async def test_progress_is_zero_before_between_and_after(slow_world, until):
    async with slow_world.client() as client:
        idle = (await client.get("/sdapi/v1/progress")).json()
        running = asyncio.create_task(client.post(TXT2IMG, json=SMALL))
        await until(lambda: slow_world.engine.tickets)
        slow_world.engine.tickets[0].step(2)
        during = (await client.get("/sdapi/v1/progress?skip_current_image=true")).json()
        slow_world.engine.tickets[0].finish()
        await running
        after = (await client.get("/sdapi/v1/progress")).json()
    assert idle == after
    assert (idle["progress"], idle["state"]["job_count"]) == (0, 0)
    assert during["progress"] == pytest.approx(0.51)
    assert (during["state"]["sampling_step"], during["state"]["sampling_steps"]) == (2, 4)
    assert during["current_image"] is None


async def test_progress_shows_a_picture_under_way_while_the_option_is_on(slow_world, until):
    async with slow_world.client() as client:
        running = asyncio.create_task(client.post(TXT2IMG, json=SMALL))
        await until(lambda: slow_world.engine.tickets)
        before = (await client.get("/sdapi/v1/progress")).json()
        slow_world.engine.tickets[0].step(2)
        during = (await client.get("/sdapi/v1/progress")).json()
        await client.post("/sdapi/v1/options", json={"live_previews_enable": False})
        off = (await client.get("/sdapi/v1/progress")).json()
        slow_world.engine.tickets[0].finish()
        await running
    assert before["current_image"] is off["current_image"] is None
    with Image.open(io.BytesIO(base64.b64decode(during["current_image"]))) as image:
        assert (image.format, image.getpixel((0, 0))) == ("PNG", (77, 77, 77))


async def told(client, **body):
    response = await client.post("/internal/progress", json={"id_task": "task(mine)"} | body)
    assert response.status_code == 200
    return response.json()


def stage(answer):
    return [name for name in ("active", "queued", "completed") if answer[name]]


async def test_a_task_is_unknown_then_queued_then_active_then_completed(slow_world, until):
    async with slow_world.client() as client:
        stages = [stage(await told(client))]
        running = asyncio.create_task(client.post(TXT2IMG, json=NAMED))
        await until(lambda: slow_world.engine.tickets)
        queued = await told(client)
        waiting = (await client.get("/internal/pending-tasks")).json()
        slow_world.engine.tickets[0].step(2)
        active = await told(client)
        none_waiting = (await client.get("/internal/pending-tasks")).json()
        slow_world.engine.tickets[0].finish()
        await running
        stages += [stage(queued), stage(active), stage(await told(client))]
    assert stages == [[], ["queued"], ["active"], ["completed"]]
    assert queued["textinfo"] == "In queue: 1/1"
    assert (active["progress"], active["textinfo"]) == (0.5, "Batch 1 out of 1")
    assert waiting == {"size": 1, "tasks": ["task(mine)"]}
    assert none_waiting == {"size": 0, "tasks": []}


async def test_a_preview_is_sent_once_for_each_look(slow_world, until):
    async with slow_world.client() as client:
        running = asyncio.create_task(client.post(TXT2IMG, json=NAMED))
        await until(lambda: slow_world.engine.tickets)
        slow_world.engine.tickets[0].step(1)
        first = await told(client)
        again = await told(client, id_live_preview=first["id_live_preview"])
        unwanted = await told(client, live_preview=False)
        slow_world.engine.tickets[0].step(2)
        next_look = await told(client, id_live_preview=first["id_live_preview"])
        slow_world.engine.tickets[0].finish()
        await running
    assert first["live_preview"].startswith("data:image/png;base64,")
    assert again["live_preview"] is unwanted["live_preview"] is None
    assert again["id_live_preview"] == first["id_live_preview"]
    assert next_look["live_preview"] is not None
    assert next_look["id_live_preview"] != first["id_live_preview"]


async def test_tasks_are_known_by_their_own_names_alone(slow_world, until):
    async with slow_world.client() as client:
        running = asyncio.create_task(client.post(TXT2IMG, json=NAMED))
        await until(lambda: slow_world.engine.tickets)
        assert stage(await told(client, id_task="task(other)")) == []
        assert stage(await told(client, id_task="")) == []
        slow_world.engine.tickets[0].finish()
        await running
