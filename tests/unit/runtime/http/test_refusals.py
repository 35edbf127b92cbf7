"""Requests for txt2img that are refused: how, and that the answer stays short and says what is allowed."""

import json

import pytest

TXT2IMG = "/sdapi/v1/txt2img"
SMALL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4, "seed": 7}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"steps": 151}, ["steps", "151", "150"]),
        ({"steps": 0}, ["steps", "0", "1"]),
        ({"width": 500}, ["width", "500", "multiple of 8"]),
        ({"height": 4096}, ["height", "4096", "2048"]),
        ({"batch_size": 9}, ["batch_size", "9", "8"]),
        ({"n_iter": 17}, ["n_iter", "17", "16"]),
        ({"seed": -2}, ["seed", "-2", "-1"]),
        ({"cfg_scale": "much"}, ["cfg_scale", "much", "number"]),
        ({"prompt": "x" * 20_000}, ["prompt", "16384"]),
        ({"prompt": ["a", "b"]}, ["prompt", "string"]),
        ({"steps": 0, "width": 1}, ["steps", "width"]),
        ({"sampler_name": "Euler b"}, ["sampler_name", "Euler b", "DPM++ 2M"]),
        ({"scheduler": "turbo"}, ["scheduler", "turbo", "karras"]),
        ({"restore_faces": True}, ["restore_faces", "True", "false"]),
        ({"alwayson_scripts": {"ADetailer": {"args": []}}}, ["alwayson_scripts", "ADetailer", "not found"]),
        ({"prompt": "<lora:missing:1>"}, ["prompt", "<lora:missing:1>", "loras of this server"]),
        ({"prompt": "<oil:paint:1>"}, ["prompt", "<oil:paint:1>", "<lora:name>"]),
        ({"hr_prompt": "(" * 65, "enable_hr": True}, ["hr_prompt", "((((", "64"]),
        ({"styles": ["anime"]}, ["styles", "anime", "none"]),
        ({"override_settings": {"randn_source": "dice"}}, ["randn_source", "dice", "CPU"]),
        (
            {"override_settings": {"sd_model_checkpoint": "nowhere"}},
            ["sd_model_checkpoint", "nowhere", "shapes"],
        ),
        ({"refiner_checkpoint": "nowhere"}, ["refiner_checkpoint", "nowhere", "shapes"]),
        ({"enable_hr": True, "hr_upscaler": "nothing"}, ["hr_upscaler", "nothing", "Lanczos"]),
        ({"infotext": "a\nSteps: 3, Sampler: Heun, Seed: x"}, ["infotext", "Seed: x", "seed"]),
        (
            {"override_settings": {"samples_save": True}, "override_settings_restore_afterwards": False},
            ["override_settings_restore_afterwards", "False", "true"],
        ),
    ],
)
async def test_a_bad_value_is_refused_by_field_value_and_what_is_allowed(world, body, told):
    async with world.client() as client:
        response = await client.post(TXT2IMG, json=SMALL | body)
    assert response.status_code == 422
    refusal = response.json()
    assert set(refusal) == {"error", "detail", "body", "errors"}
    for part in told:
        assert part in refusal["detail"]
    assert world.engine.tickets == []


async def test_the_limits_are_those_of_the_settings(make_world, prompt_engine):
    world = make_world(prompt_engine, max_steps=3, max_side=64, max_batch_size=1)
    await world.load()
    async with world.client() as client:
        assert (await client.post(TXT2IMG, json=SMALL | {"steps": 3})).status_code == 200
        for body, told in (
            ({"steps": 4}, "steps: 4"),
            ({"width": 72}, "width: 72"),
            ({"batch_size": 2}, "batch_size: 2"),
        ):
            response = await client.post(TXT2IMG, json=SMALL | {"steps": 3} | body)
            assert response.status_code == 422
            assert told in response.json()["detail"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b"{\xff}"])
async def test_a_body_that_is_no_json_object_is_refused(world, content):
    async with world.client() as client:
        response = await client.post(TXT2IMG, content=content, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["error"]) == (422, "Invalid")
    assert set(response.json()) == {"error", "detail", "body", "errors"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"steps":1', ["not JSON", "Expecting ',' delimiter", "character 10"]),
        (b"{\xff}", ["not JSON", "0xff in position 1"]),
        (b"[" * 15_000, ["not JSON", "recursion"]),
        (b"[" * 100_000, ["not JSON", "recursion"]),
        (b'{"seed": 1' + b"0" * 5000 + b"}", ["not JSON", "5001 digits"]),
    ],
    ids=["cut off", "not UTF-8", "nested", "nested, large", "a huge number"],
)
async def test_a_body_that_cannot_be_read_is_refused_with_reason_and_place(world, content, told):
    async with world.client() as client:
        response = await client.post(TXT2IMG, content=content, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["error"]) == (422, "Invalid")
    for part in told:
        assert part in response.json()["detail"]


async def test_a_body_of_unsaid_type_is_read_as_json(world):
    async with world.client() as client:
        response = await client.post(TXT2IMG, content=json.dumps(SMALL).encode())
    assert response.status_code == 200


async def test_a_body_of_another_type_is_refused_by_its_type(world):
    async with world.client() as client:
        response = await client.post(TXT2IMG, data={"prompt": "x"})
    assert response.status_code == 422
    assert "Content-Type: 'application/x-www-form-urlencoded'" in response.json()["detail"]
    assert "application/json" in response.json()["detail"]


@pytest.mark.parametrize(
    "field", ["prompt", "sampler_name", "scheduler", "hr_upscaler", "hr_prompt", "force_task_id", "infotext"]
)
async def test_half_a_surrogate_pair_is_refused_by_field(world, field):
    async with world.client() as client:
        content = json.dumps(SMALL | {field: "\ud800"})
        response = await client.post(TXT2IMG, content=content)
    assert response.status_code == 422
    assert f"{field}: '\\ud800'" in response.json()["detail"]


@pytest.mark.parametrize("path", [TXT2IMG, "/sdapi/v1/options"])
async def test_half_a_surrogate_pair_in_a_name_is_refused(world, path):
    changes = {"\ud800": 1}
    async with world.client() as client:
        content = json.dumps({"override_settings": changes} if path == TXT2IMG else changes)
        response = await client.post(path, content=content)
    assert response.status_code == 422
    assert "\\ud800: 1" in response.json()["detail"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"styles": [1] * 15_000}, ["styles", "at most 256"]),
        ({"script_args": [1] * 15_000}, ["script_args", "at most 256"]),
        ({"styles": [1] * 200}, ["styles.0", "and 190 more"]),
        ({"alwayson_scripts": {"a" * 100_000: 1}}, ["alwayson_scripts", "…", "not found", "ControlNet"]),
        (
            {"override_settings": {"k" * 100_000: 1}},
            ["kkk…: 1", "sd_model_checkpoint", "live_previews_enable"],
        ),
        ({"sampler_name": "x" * 1000}, ["xxx…xxx", "allowed: DPM++ 2M, "]),
        ({"sampler_name": "x" * 100_000}, ["sampler_name", "xxx…xxx", "1024 characters"]),
        ({"prompt": "a" * 9000 + "<b:c>"}, ["prompt", "<b:c>"]),
        ({"prompt": "<b:" + "c" * 9000 + ">"}, ["prompt", "…", "<lora:name>"]),
        ({"infotext": "a" * 20_000}, ["infotext", "16384"]),
    ],
    ids=[
        "many",
        "many of any kind",
        "many wrong",
        "a long value",
        "a long name",
        "a sampler",
        "a huge sampler",
        "long",
        "quoted",
        "infotext",
    ],
)
async def test_a_refusal_of_something_huge_is_short_and_still_says_what_is_allowed(world, body, told):
    async with world.client() as client:
        response = await client.post(TXT2IMG, json=SMALL | body)
    assert response.status_code == 422
    detail = response.json()["detail"]
    for part in told:
        assert part in detail
    assert len(detail) < 4100


async def test_a_deeply_nested_value_is_refused_like_any_other(world):
    nested = '{"a":' * 500 + "1" + "}" * 500
    async with world.client() as client:
        response = await client.post(TXT2IMG, content=f'{{"alwayson_scripts": {nested}}}')
    assert response.status_code == 422
    assert "Script 'a' not found" in response.json()["detail"]


@pytest.mark.parametrize("field", ["prompt", "infotext", "firstpass_image"])
async def test_a_long_text_that_can_be_no_picture_is_refused_by_its_length(world, field):
    async with world.client() as client:
        response = await client.post(TXT2IMG, json=SMALL | {field: "é" * 20_000})
    assert response.status_code == 422
    assert response.json()["detail"].startswith(f"{field}: 'é")
    assert "at most 16384 characters" in response.json()["detail"]
