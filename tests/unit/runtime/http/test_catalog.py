"""The lists of A1111's interface, and everything that is not served."""

from dataclasses import replace

import pytest
import small_files

from sd_modelfiles.kinds import ModelType
from sd_runtime.a1111 import coverage
from sd_runtime.app import create_app
from sd_runtime.sampling import SAMPLERS


async def get(world, path):
    async with world.client() as client:
        response = await client.get(path)
    assert response.status_code == 200
    return response.json()


async def test_samplers_have_the_keys_clients_read(world):
    samplers = await get(world, "/sdapi/v1/samplers")
    assert samplers[0] == {"name": "DPM++ 2M", "aliases": ["k_dpmpp_2m"], "options": {"scheduler": "karras"}}
    assert [each["name"] for each in samplers] == [each.name for each in SAMPLERS]
    options = {each["name"]: each["options"] for each in samplers}
    assert options["Euler"] == {}
    assert options["Euler a"] == {"uses_ensd": "True"}
    assert options["DPM++ 3M SDE"] == {
        "scheduler": "exponential",
        "discard_next_to_last_sigma": "True",
        "brownian_noise": "True",
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


def put(world, name, content=b"x"):
    path = world.root / "bundle" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return str(path)


async def test_vaes_are_listed_by_the_names_that_the_option_takes(world):
    path = put(world, "models/VAE/soft.safetensors", small_files.of(ModelType.VAE))
    listed = [{"model_name": "soft.safetensors", "filename": path}]
    assert await get(world, "/sdapi/v1/sd-vae") == listed
    assert await get(world, "/sdapi/v1/sd-modules") == listed
    async with world.client() as client:
        response = await client.post("/sdapi/v1/options", json={"sd_vae": "soft.safetensors"})
    assert response.status_code == 200


async def test_loras_are_listed_with_what_their_files_say(world):
    notes = {
        "ss_output_name": "gold",
        "ss_tag_frequency": '{"a": {"b": 1}}',
        "x": "{",
        "ssmd_cover_images": "[]",
    }
    metadata = {"ss_output_name": "gold", "ss_tag_frequency": {"a": {"b": 1}}, "x": "{"}
    path = put(world, "models/Lora/gilded.safetensors", small_files.of(ModelType.LORA, notes))
    assert await get(world, "/sdapi/v1/loras") == [
        {"name": "gilded", "alias": "gold", "path": path, "metadata": metadata}
    ]


@pytest.mark.parametrize("route", ["loras", "sd-vae", "sd-models", "upscalers"])
async def test_files_that_cannot_be_used_are_in_no_list(world, route):
    before = await get(world, f"/sdapi/v1/{route}")
    for folder in ("Lora", "VAE", "Stable-diffusion", "ESRGAN"):
        put(world, f"models/{folder}/cut.safetensors", small_files.of(ModelType.LORA)[:-1])
        put(world, f"models/{folder}/empty.safetensors", b"")
        if folder != "ESRGAN":  # what is no other type may be an upscaler
            put(world, f"models/{folder}/foreign.safetensors", small_files.of(ModelType.TEXTUAL_INVERSION))
    assert await get(world, f"/sdapi/v1/{route}") == before


async def test_hypernetworks_are_listed_by_name(world):
    path = put(world, "models/hypernetworks/blackout.pt")
    assert await get(world, "/sdapi/v1/hypernetworks") == [{"name": "blackout", "path": path}]


async def test_upscalers_are_listed_with_and_without_a_file(world):
    path = put(world, "models/RealESRGAN/RealESRGAN_x4plus.safetensors", small_files.of(ModelType.UPSCALER))
    upscalers = await get(world, "/sdapi/v1/upscalers")
    assert [each["name"] for each in upscalers] == ["None", "Lanczos", "Nearest", "R-ESRGAN 4x+"]
    assert upscalers[3] == {
        "name": "R-ESRGAN 4x+",
        "model_name": "RealESRGAN_x4plus",
        "model_path": path,
        "model_url": None,
        "scale": 4.0,
    }
    assert upscalers[0]["model_path"] is None
    known = await get(world, "/sdapi/v1/realesrgan-models")
    assert known == [{"name": "R-ESRGAN 4x+", "path": path, "scale": 4}]


async def test_latent_upscale_modes_begin_with_the_default(world):
    modes = await get(world, "/sdapi/v1/latent-upscale-modes")
    assert modes[0] == {"name": "Latent"}
    assert len(modes) == 6


async def test_embeddings_are_loaded_or_skipped_by_the_width_of_the_served_text_encoder(world):
    put(world, "embeddings/goldie.safetensors", small_files.safetensors({"emb_params": [2, 768]}))
    put(world, "embeddings/other.safetensors", small_files.safetensors({"emb_params": [1, 1024]}))
    put(world, "embeddings/broken.safetensors", b"no")
    assert set((await get(world, "/sdapi/v1/embeddings"))["loaded"]) == {"goldie", "other"}
    state = world.services.state
    state.become_ready(replace(state.loaded, text_widths=(768,)))
    embeddings = await get(world, "/sdapi/v1/embeddings")
    goldie = {"step": None, "sd_checkpoint": None, "sd_checkpoint_name": None, "shape": 768, "vectors": 2}
    assert embeddings["loaded"] == {"goldie": goldie}
    assert set(embeddings["skipped"]) == {"other", "broken"}
    assert "1024 wide" in embeddings["skipped"]["other"]["reason"]
    assert (embeddings["skipped"]["broken"]["vectors"], embeddings["skipped"]["broken"]["shape"]) == (0, 0)


async def test_styles_are_those_of_the_file(world):
    put(world, "styles.csv", b'name,prompt,negative_prompt\nink,"{prompt}, ink",colour\n')
    styles = await get(world, "/sdapi/v1/prompt-styles")
    assert styles == [{"name": "ink", "prompt": "{prompt}, ink", "negative_prompt": "colour"}]


@pytest.mark.parametrize("path", ["face-restorers", "extensions"])
async def test_lists_of_what_is_not_served_are_empty(world, path):
    assert await get(world, f"/sdapi/v1/{path}") == []


async def test_controlnet_is_the_script_of_both_routes(world):
    assert await get(world, "/sdapi/v1/scripts") == {"txt2img": ["controlnet"], "img2img": ["controlnet"]}
    told = await get(world, "/sdapi/v1/script-info")
    assert [(each["name"], each["is_alwayson"], each["is_img2img"]) for each in told] == [
        ("controlnet", True, False),
        ("controlnet", True, True),
    ]
    assert [arg["label"] for arg in told[0]["args"]] == [f"ControlNet Unit {number}" for number in range(3)]


async def test_every_route_of_the_tables_exists_and_no_other_of_a1111s_does(world):
    paths = create_app(world.services).openapi()["paths"]
    existing = {
        f"{method.upper()} {path}"
        for path, methods in paths.items()
        for method in methods
        if not path.startswith("/v1/")
    }
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
        response = await client.request(
            method, path if path.startswith("/") else f"/sdapi/v1/{path}", json={}
        )
    assert response.status_code == 501
    assert response.json() == {
        "error": "NotServed",
        "detail": f"not served: {why}",
        "body": "",
        "errors": f"not served: {why}",
    }


@pytest.mark.parametrize("path", ["/sdapi/v1/nonsense", "/", "/controlnet/nonsense", "/queue/status"])
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
        (world.root / "bundle/models/Stable-diffusion/new.safetensors").write_bytes(
            small_files.of(ModelType.CHECKPOINT)
        )
        titles = [model["title"] for model in (await client.get("/sdapi/v1/sd-models")).json()]
    assert "new.safetensors" in titles
