"""img2img over HTTP: the pictures that come with a request."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

IMG2IMG = "/sdapi/v1/img2img"
SMALL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4, "seed": 7}


def picture(colour, *, size=(80, 40), mode="RGB", form="PNG"):
    """A picture of one colour, as clients send it."""
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, form)
    return base64.b64encode(buffer.getvalue()).decode()


RED = picture((255, 0, 0))
WHITE = picture(255, mode="L")


async def made(world, **body):
    async with world.client() as client:
        response = await client.post(IMG2IMG, json=SMALL | body)
    assert response.status_code == 200, response.text
    return response.json()


async def refused(world, **body):
    async with world.client() as client:
        response = await client.post(IMG2IMG, json=SMALL | body)
    assert response.status_code == 422
    return response.json()["detail"]


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
async def test_a_picture_is_drawn_over(world, prefix):
    answer = await made(world, init_images=[f"{prefix}{RED}"], denoising_strength=0.5)
    (ticket,) = world.engine.tickets
    assert ticket.task.image.shape == (40, 80, 3)
    assert tuple(ticket.task.image[0, 0]) == (255, 0, 0)
    assert (ticket.task.width, ticket.task.height, ticket.task.denoising_strength) == (64, 64, 0.5)
    info = json.loads(answer["info"])
    assert "Denoising strength: 0.5" in info["infotexts"][0]
    assert len(answer["images"]) == 1


async def test_transparency_reaches_the_task(world):
    await made(world, init_images=[picture((255, 0, 0, 0), mode="RGBA")])
    assert world.engine.tickets[0].task.image.shape == (40, 80, 4)


async def test_a_mask_comes_with_it(world):
    await made(world, init_images=[RED], mask=WHITE, mask_blur=2)
    mask = world.engine.tickets[0].task.mask
    assert (mask.image.shape, mask.image.min(), mask.blur_x) == ((40, 80), 255, 2)


async def test_pictures_are_saved_in_a_folder_of_their_own(world):
    await made(world, init_images=[RED])
    (path,) = world.saved()
    assert path.parent.parent.name == "img2img-images"


async def test_given_pictures_are_not_sent_back_unless_wished(world):
    without = await made(world, init_images=[RED], mask=WHITE)
    assert (without["parameters"]["init_images"], without["parameters"]["mask"]) == (None, None)
    wished = await made(world, init_images=[RED], include_init_images=True)
    assert wished["parameters"]["init_images"] == [RED]


@pytest.mark.parametrize("given", [{}, {"init_images": []}, {"init_images": None}])
async def test_without_a_picture_there_is_nothing_to_draw_over(world, given):
    async with world.client() as client:
        response = await client.post(IMG2IMG, json=SMALL | given)
    assert response.status_code == 404
    assert set(response.json()) == {"error", "detail", "body", "errors"}
    assert "Init image not found" in response.json()["detail"]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"init_images": ["no picture"]}, "init_images.0"),
        ({"init_images": [RED, base64.b64encode(b"no picture").decode()]}, "init_images.1"),
        ({"init_images": [RED], "mask": "no picture"}, "mask"),
        ({"init_images": [RED] * 9}, "init_images: '9 pictures'"),
        ({"init_images": ["https://example.com/cat.png"]}, "SD_IMAGE_URLS"),
        ({"init_images": [RED], "latent_mask": WHITE}, "latent_mask"),
    ],
)
async def test_a_picture_that_cannot_be_used_is_refused_by_field(world, given, field):
    assert field in await refused(world, **given)
    assert world.engine.tickets == []


async def test_the_pixels_of_given_pictures_are_limited_together(make_world, prompt_engine):
    world = make_world(prompt_engine, max_pixels_per_request=2 * 64 * 64)
    await world.load()
    one, two = picture(1, size=(64, 64), mode="L"), picture(1, size=(64, 128), mode="L")
    await made(world, init_images=[one, one])
    assert "12288 pixels together" in await refused(world, init_images=[one, two])
    assert "init_images.0" in await refused(world, init_images=[picture(1, size=(64, 136), mode="L")])


async def test_a_picture_may_stand_for_the_first_pass(world):
    async with world.client() as client:
        body = SMALL | {"enable_hr": True, "firstpass_image": RED}
        assert (await client.post("/sdapi/v1/txt2img", json=body)).status_code == 200
        body = SMALL | {"enable_hr": False, "firstpass_image": "no picture"}
        assert (await client.post("/sdapi/v1/txt2img", json=body)).status_code == 200
    first, second = (ticket.task.first_pass for ticket in world.engine.tickets)
    assert np.array_equal(first[0, 0], (255, 0, 0))
    assert second is None
