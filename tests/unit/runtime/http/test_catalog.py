"""The lists of A1111's interface, options, picture files, and everything that is not served."""

import base64
from pathlib import Path

import numpy as np
import pytest

from sd_runtime.a1111 import coverage
from sd_runtime.app import create_app
from sd_runtime.images import codec


async def get(world, path):
    async with world.client() as client:
        response = await client.get(path)
    assert response.status_code == 200
    return response.json()


async def test_samplers_have_the_keys_clients_read(world):
    samplers = await get(world, "/sdapi/v1/samplers")
    assert samplers[0] == {"name": "DPM++ 2M", "aliases": ["k_dpmpp_2m"], "options": {"scheduler": "karras"}}
    assert {each["name"]: each["options"] for each in samplers[1:]} == {
        "Euler a": {},
        "Euler": {},
        "Heun": {},
    }


async def test_schedulers_have_the_keys_clients_read(world):
    schedulers = await get(world, "/sdapi/v1/schedulers")
    (karras,) = (each for each in schedulers if each["name"] == "karras")
    assert karras == {
        "name": "karras",
        "label": "Karras",
        "aliases": [],
        "default_rho": 7.0,
        "need_inner_model": False,
    }


async def test_sd_models_lists_every_checkpoint_the_loaded_one_with_its_digest(world):
    models = await get(world, "/sdapi/v1/sd-models")
    assert [model["title"] for model in models] == ["other.safetensors", "shapes.safetensors [ab12ab12ab]"]
    assert models[1] == {
        "title": "shapes.safetensors [ab12ab12ab]",
        "model_name": "shapes",
        "hash": "ab12ab12ab",
        "sha256": "ab12" * 16,
        "filename": str(world.root / "bundle/models/Stable-diffusion/shapes.safetensors"),
        "config": None,
    }


@pytest.mark.parametrize("route", [route for route, note in coverage.SERVED.items() if note == "empty"])
async def test_lists_of_what_is_not_served_are_empty(world, route):
    answer = await get(world, f"/sdapi/v1/{route.split(' ')[1]}")
    assert answer in ([], {"loaded": {}, "skipped": {}}, {"txt2img": [], "img2img": []})


async def test_every_route_of_the_tables_exists_and_no_other_does(world):
    paths = create_app(world.services).openapi()["paths"]
    existing = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    told = {
        f"{route.split(' ')[0]} {path if path.startswith('/') else f'/sdapi/v1/{path}'}"
        for route in coverage.SERVED
        for path in [route.split(" ")[1]]
    }
    assert existing == told


@pytest.mark.parametrize(("route", "why"), coverage.NOT_SERVED.items())
async def test_routes_of_a1111_that_are_not_served_say_why(world, route, why):
    method, path = route.split(" ")
    async with world.client() as client:
        response = await client.request(method, f"/sdapi/v1/{path}", json={})
    assert response.status_code == 501
    assert response.json() == {
        "error": "NotServed",
        "detail": f"not served: {why}",
        "body": "",
        "errors": f"not served: {why}",
    }


@pytest.mark.parametrize("path", ["/sdapi/v1/nonsense", "/", "/controlnet/version", "/queue/status"])
async def test_other_paths_are_not_found_in_the_same_shape(world, path):
    async with world.client() as client:
        response = await client.get(path)
    assert response.status_code == 404
    assert set(response.json()) == {"error", "detail", "body", "errors"}
    assert path in response.json()["detail"]


async def test_a_wrong_method_is_told_in_the_same_shape(world):
    async with world.client() as client:
        response = await client.get("/sdapi/v1/txt2img")
    assert response.status_code == 405
    assert set(response.json()) == {"error", "detail", "body", "errors"}


async def test_refreshing_answers_null_and_a_new_file_is_listed_without_it(world):
    async with world.client() as client:
        assert (await client.post("/sdapi/v1/refresh-checkpoints")).json() is None
        (world.root / "bundle/models/Stable-diffusion/new.safetensors").write_bytes(b"n")
        titles = [model["title"] for model in (await client.get("/sdapi/v1/sd-models")).json()]
    assert "new.safetensors" in titles


async def test_the_whole_options_can_be_sent_back_with_one_value_changed(world):
    async with world.client() as client:
        options = (await client.get("/sdapi/v1/options")).json()
        assert options["sd_model_checkpoint"] == "shapes.safetensors [ab12ab12ab]"
        response = await client.post("/sdapi/v1/options", json=options | {"CLIP_stop_at_last_layers": 2})
        assert (response.status_code, response.json()) == (200, None)
        assert (await client.get("/sdapi/v1/options")).json() == options | {"CLIP_stop_at_last_layers": 2}


async def test_options_got_before_the_load_can_be_sent_back_after_it(make_world, prompt_engine):
    world = make_world(prompt_engine)
    async with world.client() as client:
        options = (await client.get("/sdapi/v1/options")).json()
        assert options["sd_model_checkpoint"] == "shapes.safetensors"
        assert (await client.post("/sdapi/v1/options", json=options)).status_code == 200
        await world.load()
        assert (await client.post("/sdapi/v1/options", json=options)).status_code == 200


async def test_one_bad_option_refuses_all(world):
    async with world.client() as client:
        changes = {"CLIP_stop_at_last_layers": 2, "sd_model_checkpoint": "other"}
        response = await client.post("/sdapi/v1/options", json=changes)
        options = (await client.get("/sdapi/v1/options")).json()
    assert response.status_code == 422
    assert "sd_model_checkpoint: 'other'" in response.json()["detail"]
    assert options["CLIP_stop_at_last_layers"] == 1


async def test_a_clip_skip_beyond_the_text_encoder_does_not_spoil_later_requests(world):
    async with world.client() as client:
        response = await client.post("/sdapi/v1/options", json={"CLIP_stop_at_last_layers": 5})
        later = await client.post("/sdapi/v1/txt2img", json={"width": 64, "height": 64})
    assert response.status_code == 422
    assert "CLIP_stop_at_last_layers: 5 is not supported; allowed: 1 to 4" in response.json()["detail"]
    assert (later.status_code, world.engine.tickets[0].task.clip_skip) == (200, 1)


async def test_memory_is_of_this_process(world):
    ram = (await get(world, "/sdapi/v1/memory"))["ram"]
    assert 0 < ram["used"] < ram["total"]
    assert ram["free"] == ram["total"] - ram["used"]


async def test_flags_tell_the_checkpoint_and_the_port(world):
    flags = await get(world, "/sdapi/v1/cmd-flags")
    assert (Path(flags["ckpt"]).name, flags["port"]) == ("shapes.safetensors", 7860)


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
async def test_png_info_reads_a_picture(world, prefix):
    text = "a cat\nSteps: 4, Sampler: Euler, Seed: 7, Size: 64x64"
    png = codec.encode_png(np.zeros((8, 8, 3), dtype=np.uint8), text)
    async with world.client() as client:
        response = await client.post(
            "/sdapi/v1/png-info", json={"image": prefix + base64.b64encode(png).decode()}
        )
    answer = response.json()
    assert (answer["info"], answer["items"]) == (text, {})
    assert (answer["parameters"]["Prompt"], answer["parameters"]["Size-2"]) == ("a cat", "64")


async def test_png_info_of_a_picture_without_parameters_is_empty(world):
    png = codec.encode_png(np.zeros((8, 8, 3), dtype=np.uint8), "")
    async with world.client() as client:
        response = await client.post("/sdapi/v1/png-info", json={"image": base64.b64encode(png).decode()})
    assert response.json() == {"info": "", "items": {}, "parameters": {}}


@pytest.mark.parametrize("image", ["", "aGk=", "!!!", "http://169.254.169.254/", "data:image/png;base64"])
async def test_png_info_refuses_what_is_no_picture(world, image):
    async with world.client() as client:
        response = await client.post("/sdapi/v1/png-info", json={"image": image})
    assert response.status_code == 422
    assert "image" in response.json()["detail"]
