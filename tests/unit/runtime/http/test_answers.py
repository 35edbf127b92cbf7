"""Answers with pictures: their formats, a grid of them, and what their infotext says of the files used."""

import base64
import io
import json

import pytest
from PIL import Image

from sd_modelfiles import place
from sd_modelfiles.kinds import ModelType
from sd_runtime.images import codec

TXT2IMG = "/sdapi/v1/txt2img"
SMALL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4, "seed": 7}


async def made(world, **body):
    async with world.client() as client:
        response = await client.post(TXT2IMG, json=SMALL | body)
    assert response.status_code == 200, response.text
    answer = response.json()
    return [base64.b64decode(image) for image in answer["images"]], json.loads(answer["info"])


def files_of(world, pattern):
    return sorted((world.root / "outputs").rglob(pattern))


def put(world, model_type, name):
    path = world.root / "bundle" / place.folder_of(model_type) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not read here")
    return path


@pytest.mark.parametrize(("form", "name"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")])
async def test_pictures_have_the_format_of_the_options_with_the_infotext_in_its_place(world, form, name):
    options = {"samples_format": form, "webp_lossless": True}
    images, info = await made(world, override_settings=options)
    with Image.open(io.BytesIO(images[0])) as image:
        assert image.format == name
    assert codec.read_metadata(images[0]).parameters == info["infotexts"][0]
    (path,) = files_of(world, f"*.{form}")
    assert path.read_bytes() == images[0]


async def test_pictures_tell_nothing_where_the_option_says_so(world):
    images, info = await made(world, override_settings={"enable_pnginfo": False})
    assert codec.read_metadata(images[0]).parameters == ""
    assert len(info["infotexts"]) == 1


async def test_several_pictures_that_are_to_be_saved_come_with_a_grid(world):
    images, info = await made(world, batch_size=3, save_images=True)
    with Image.open(io.BytesIO(images[0])) as grid:
        assert grid.size == (128, 128)
        assert grid.info["parameters"] == info["infotexts"][0] == info["infotexts"][1]
    assert (len(images), info["index_of_first_image"], len(info["all_seeds"])) == (4, 1, 3)
    (saved,) = files_of(world, "grid-*.png")
    assert saved.read_bytes() == images[0]


@pytest.mark.parametrize(
    ("body", "sent", "saved"),
    [
        ({"save_images": True, "batch_size": 1}, 1, 0),
        ({"save_images": False}, 2, 0),
        ({"save_images": True, "do_not_save_grid": True}, 2, 0),
        ({"save_images": True, "override_settings": {"return_grid": False}}, 2, 1),
        ({"save_images": True, "override_settings": {"grid_save": False}}, 3, 0),
        ({"save_images": True, "override_settings": {"grid_save": False, "return_grid": False}}, 2, 0),
        ({"save_images": True, "override_settings": {"samples_save": False}}, 3, 0),
        ({"save_images": True, "send_images": False}, 0, 1),
    ],
)
async def test_when_a_grid_is_sent_and_saved(world, body, sent, saved):
    images, _ = await made(world, **{"batch_size": 2} | body)
    assert (len(images), len(files_of(world, "grid-*"))) == (sent, saved)


async def test_a_lora_is_told_with_the_hash_of_its_file(world):
    path = put(world, ModelType.LORA, "ink.safetensors")
    _, info = await made(world, prompt="a cat <lora:ink:0.5>")
    short = world.services.library.short_hash(
        world.services.library.find(ModelType.LORA, "ink"), compute=True
    )
    assert short
    assert info["extra_generation_params"]["Lora hashes"] == f"ink: {short}"
    assert f'Lora hashes: "ink: {short}"' in info["infotexts"][0]
    (use,) = world.engine.tickets[0].task.guided.adapters
    assert (use.path, use.unet) == (path, 0.5)


async def test_a_vae_is_told_with_the_hash_of_its_file(world):
    put(world, ModelType.VAE, "soft.safetensors")
    _, info = await made(world, override_settings={"sd_vae": "soft.safetensors"})
    assert info["sd_vae_name"] == "soft.safetensors"
    assert f"VAE hash: {info['sd_vae_hash']}, VAE: soft.safetensors" in info["infotexts"][0]


async def test_another_checkpoint_makes_one_request_and_is_told_there(world):
    _, other = await made(world, override_settings={"sd_model_checkpoint": "other"})
    _, served = await made(world)
    first, second = (ticket.task for ticket in world.engine.tickets)
    assert (first.checkpoint.name, second.checkpoint) == ("other.safetensors", None)
    assert (other["sd_model_name"], other["sd_model_hash"]) == ("other", "7777777777")
    assert (served["sd_model_name"], served["sd_model_hash"]) == ("shapes", "ab12ab12ab")
    assert "Model hash: 7777777777, Model: other" in other["infotexts"][0]


async def test_a_request_is_made_anew_from_the_infotext_of_its_picture(world):
    images, info = await made(world, sampler_name="Heun", cfg_scale=3.5, subseed=5, subseed_strength=0.5)
    text = codec.read_metadata(images[0]).parameters
    async with world.client() as client:
        answer = (await client.post(TXT2IMG, json={"infotext": text})).json()
    assert json.loads(answer["info"])["infotexts"] == info["infotexts"]
    first, second = (ticket.task for ticket in world.engine.tickets)
    assert first == second
