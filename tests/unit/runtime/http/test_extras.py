"""Making pictures larger over HTTP, and how pictures come with a request."""

import asyncio
import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sd_runtime.a1111.schemas.extras import ExtrasSingleRequest
from sd_runtime.images import codec
from sd_runtime.routes import inputs
from sd_runtime.routes.a1111_extras import start

SINGLE, BATCH = "/sdapi/v1/extra-single-image", "/sdapi/v1/extra-batch-images"
INFOTEXT = "a cat\nSteps: 4, Sampler: Euler, Seed: 7, Size: 64x64"


def encoded(width=8, height=8, *, form="png", text=None, value=200):
    data = codec.encode(np.full((height, width, 3), value, dtype=np.uint8), form, text)
    return base64.b64encode(data).decode()


async def post(world, path, **body):
    async with world.client() as client:
        return await client.post(path, json=body)


async def test_a_picture_is_answered_with_what_was_done(world):
    response = await post(world, SINGLE, image=encoded(text=INFOTEXT), upscaler_1="Lanczos")
    assert response.status_code == 200
    answer = response.json()
    assert set(answer) == {"html_info", "image"}
    assert answer["html_info"].startswith("<p>a cat<br>Steps: 4")
    (ticket,) = world.engine.tickets
    assert (ticket.task.image.shape, ticket.task.scale) == ((8, 8, 3), 2.0)
    told = codec.read_metadata(base64.b64decode(answer["image"])).parameters
    assert told == f"{INFOTEXT}, Postprocess upscale by: 2.0, Postprocess upscaler: Lanczos"


async def test_text_from_a_file_does_not_become_html(world):
    response = await post(world, SINGLE, image=encoded(text="<script>alert(1)</script>"))
    assert response.json()["html_info"] == "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>"


async def test_several_pictures_are_answered_in_their_order(world):
    pictures = [{"data": encoded(8 * number, 8), "name": f"{number}.png"} for number in (1, 2, 3)]
    response = await post(world, BATCH, imageList=pictures, upscaler_1="Nearest")
    assert response.status_code == 200
    assert set(response.json()) == {"html_info", "images"}
    assert len(response.json()["images"]) == 3
    assert [ticket.task.image.shape[1] for ticket in world.engine.tickets] == [8, 16, 24]


async def test_the_picture_has_the_format_that_the_options_say(world):
    async with world.client() as client:
        options = {"samples_format": "jpg", "enable_pnginfo": False}
        assert (await client.post("/sdapi/v1/options", json=options)).status_code == 200
    response = await post(world, SINGLE, image=encoded(text=INFOTEXT), upscaler_1="Lanczos")
    data = base64.b64decode(response.json()["image"])
    assert Image.open(io.BytesIO(data)).format == "JPEG"
    assert codec.read_metadata(data).parameters == ""


async def test_nothing_is_saved(world):
    assert (await post(world, SINGLE, image=encoded(), upscaler_1="Lanczos")).status_code == 200
    assert world.saved() == []


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        (SINGLE, {}, ["image", "base64"]),
        (SINGLE, {"image": "aGk="}, ["image", "not a picture"]),
        (SINGLE, {"image": encoded(), "upscaler_1": "Gone"}, ["upscaler_1", "'Gone'", "Lanczos"]),
        (SINGLE, {"image": encoded(), "resize_mode": 2}, ["resize_mode", "2"]),
        (SINGLE, {"image": encoded(), "upscaling_resize": 9}, ["upscaling_resize", "9"]),
        (SINGLE, {"image": encoded(), "gfpgan_visibility": 1}, ["gfpgan_visibility", "face restoration"]),
        (SINGLE, {"image": encoded(65, 64)}, ["image", "65x64 pixels are more than 4096"]),
        (
            SINGLE,
            {"image": encoded(33, 32), "upscaler_1": "Lanczos"},
            ["width x height of all results", "4224", "4096 pixels"],
        ),
        (BATCH, {"imageList": []}, ["imageList", "at least 1"]),
        (BATCH, {}, ["imageList"]),
        (BATCH, {"imageList": [{"data": encoded()}, {"data": "!"}]}, ["imageList.1.data"]),
        (BATCH, {"imageList": [{"data": encoded(64, 40)}] * 2}, ["imageList", "5120 pixels together"]),
        (SINGLE, {"image": "http://example.com/a.png"}, ["image", "SD_IMAGE_URLS is off"]),
    ],
)
async def test_what_is_wrong_is_told_by_field_and_nothing_is_made(
    make_world, prompt_engine, path, body, told
):
    world = make_world(prompt_engine, max_pixels_per_request=4096)
    await world.load()
    response = await post(world, path, **body)
    assert response.status_code == 422
    for part in told:
        assert part in response.json()["detail"]
    assert world.engine.tickets == []


async def test_before_a_checkpoint_is_loaded_nothing_is_accepted(make_world, prompt_engine):
    response = await post(make_world(prompt_engine), SINGLE, image=encoded())
    assert response.status_code == 503


async def test_a_full_queue_is_told_before_a_picture_is_looked_at(make_world, manual_engine):
    world = make_world(manual_engine, queue_limit=1)
    await world.load()
    await start(world.services, ExtrasSingleRequest(image=encoded(), upscaler_1="Lanczos"))
    response = await post(world, SINGLE, image="no picture")
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1


async def test_an_interrupted_request_without_a_picture_says_so(slow_world, until):
    async with slow_world.client() as client:
        asked = asyncio.create_task(client.post(SINGLE, json={"image": encoded(), "upscaler_1": "Lanczos"}))
        await until(lambda: slow_world.engine.tickets)
        await client.post("/sdapi/v1/interrupt")
        response = await asked
    assert response.status_code == 503
    assert "interrupted" in response.json()["detail"]


def with_alpha():
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 4, 8))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


async def test_what_is_transparent_becomes_the_background_or_stays(world):
    held = world.services.intake.holding()
    white = await inputs.pixels(world.services, "image", with_alpha(), held)
    assert (white[0, 0].tolist(), white[0, 7].tolist()) == ([0, 0, 255], [255, 255, 255])
    black = await inputs.pixels(world.services, "image", with_alpha(), held, background=(0, 0, 0))
    assert black[0, 7].tolist() == [0, 0, 0]
    kept = await inputs.pixels(world.services, "image", with_alpha(), held, background=None)
    assert kept[0, 7].tolist() == [255, 0, 0, 0]


async def test_a_masks_alpha_channel_is_the_mask(world):
    held = world.services.intake.holding()
    mask = await inputs.mask(world.services, "mask", with_alpha(), held)
    assert (mask.shape, int(mask[0, 0]), int(mask[0, 7])) == ((8, 8), 255, 0)


@pytest.mark.parametrize("form", ["plain", "data URI", "in capitals", "broken into lines"])
async def test_base64_may_come_in_several_forms(world, form):
    text = encoded()
    text = {
        "plain": text,
        "data URI": f"data:image/png;base64,{text}",
        "in capitals": f"DATA:image/png;BASE64,{text}",
        "broken into lines": "\r\n".join(text[i : i + 20] for i in range(0, len(text), 20)),
    }[form]
    held = world.services.intake.holding()
    assert (await inputs.pixels(world.services, "image", text, held)).shape == (8, 8, 3)


@given(
    st.binary(max_size=12).map(base64.b64encode).map(bytes.decode) | st.text("AQgw=+/ \né", max_size=12),
    st.text("A= \n", max_size=2),
    st.integers(0, 12),
    st.integers(1, 9),
)
def test_slice_by_slice_base64_is_what_it_is_as_a_whole(text, added, at, size):
    text = text[:at] + added + text[at:]
    try:
        whole = base64.b64decode("".join(text.split()).encode("ascii"), validate=True)
    except ValueError:
        whole = b""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "_SLICE", size)
        try:
            told = inputs._decoded_slices(text)
        except ValueError:
            told = b""
    assert told == whole


async def test_where_urls_are_fetched_a_private_address_is_still_refused(make_world, prompt_engine):
    world = make_world(prompt_engine, image_urls="on")
    await world.load()
    response = await post(world, SINGLE, image="http://127.0.0.1:1/a.png")
    assert response.status_code == 422
    assert "an address of the server itself" in response.json()["detail"]
