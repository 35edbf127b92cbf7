"""The routes for options, for facts about the server, and for picture files."""

import asyncio
import base64
from pathlib import Path

import numpy as np
import pytest

from sd_runtime.errors import CheckpointError
from sd_runtime.images import codec


async def get(world, path):
    async with world.client() as client:
        response = await client.get(path)
    assert response.status_code == 200
    return response.json()


async def set_options(world, **changes):
    async with world.client() as client:
        return await client.post("/sdapi/v1/options", json=changes)


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
    response = await set_options(world, CLIP_stop_at_last_layers=2, sd_vae="gone")
    assert response.status_code == 422
    assert "sd_vae: 'gone'" in response.json()["detail"]
    assert (await get(world, "/sdapi/v1/options"))["CLIP_stop_at_last_layers"] == 1


async def test_another_checkpoint_is_refused_where_somebody_else_says_which_is_served(world):
    world.services.switch = None
    response = await set_options(world, sd_model_checkpoint="other", jpeg_quality=50)
    assert response.status_code == 422
    assert "sd_model_checkpoint: 'other'" in response.json()["detail"]
    assert "SD_CHECKPOINT says which" in response.json()["detail"]
    assert (await get(world, "/sdapi/v1/options"))["jpeg_quality"] == 80
    assert (await set_options(world, sd_model_checkpoint="shapes")).status_code == 200


class Switching:
    """Serves what it is told to, with a digest of its own, or fails with an error."""

    text_layers = 4

    def __init__(self, world, loaded_checkpoint, error=None):
        self.switched = []
        self._world, self._loaded, self._error = world, loaded_checkpoint, error

    async def __call__(self, path):
        await asyncio.sleep(0)
        self.switched.append(path.name)
        if self._error:
            raise self._error
        digest = ("ab12" if path.stem == "shapes" else "cd34") * 16
        self._world.services.state.become_ready(self._loaded(path, digest, text_layers=self.text_layers))


async def test_another_checkpoint_is_switched_to_where_nobody_else_says_which(world, loaded_checkpoint):
    switch = world.services.switch = Switching(world, loaded_checkpoint)
    before = await get(world, "/sdapi/v1/options")
    changes = before | {"sd_model_checkpoint": "other.safetensors", "jpeg_quality": 50}
    assert (await set_options(world, **changes)).status_code == 200
    assert (await set_options(world, sd_model_checkpoint="other")).status_code == 200
    assert switch.switched == ["other.safetensors"]
    after = await get(world, "/sdapi/v1/options")
    assert after["sd_model_checkpoint"].startswith("other.safetensors")
    assert after["jpeg_quality"] == 50


async def test_the_digest_of_the_one_before_does_not_spoil_a_switch(world, loaded_checkpoint):
    world.services.switch = Switching(world, loaded_checkpoint)
    before = await get(world, "/sdapi/v1/options")
    assert before["sd_checkpoint_hash"]
    response = await set_options(world, **before | {"sd_model_checkpoint": "other", "jpeg_quality": 50})
    assert (response.status_code, world.served) == (200, ("other", "cd34" * 16))
    after = await get(world, "/sdapi/v1/options")
    assert (after["jpeg_quality"], after["sd_checkpoint_hash"]) == (50, "cd34" * 16)


async def test_options_got_before_a_switch_can_be_sent_back_after_it(world, loaded_checkpoint):
    switch = world.services.switch = Switching(world, loaded_checkpoint)
    before = await get(world, "/sdapi/v1/options")
    assert (await set_options(world, sd_model_checkpoint="other")).status_code == 200
    # The digest alone names a checkpoint that is not served.
    alone = await set_options(world, sd_checkpoint_hash=before["sd_checkpoint_hash"] + "0")
    assert alone.status_code == 422
    world.services.shelf.all = lambda served: [
        *(each for each in listed(world, served) if each.path.stem != "shapes"),
        world.services.shelf.entry(world.folder / "shapes.safetensors", "ab12" * 16),
    ]
    assert (await set_options(world, **before)).status_code == 200
    assert switch.switched == ["other.safetensors", "shapes.safetensors"]


def listed(world, served):
    return type(world.services.shelf).all(world.services.shelf, served)


async def test_what_cannot_be_with_the_new_checkpoint_keeps_the_old_one(world, loaded_checkpoint):
    switch = world.services.switch = Switching(world, loaded_checkpoint)
    switch.text_layers = 2
    changes = {"sd_model_checkpoint": "other", "CLIP_stop_at_last_layers": 3, "jpeg_quality": 50}
    response = await set_options(world, **changes)
    assert response.status_code == 422
    assert "CLIP_stop_at_last_layers: 3" in response.json()["detail"]
    assert switch.switched == ["other.safetensors", "shapes.safetensors"]
    after = await get(world, "/sdapi/v1/options")
    assert (after["jpeg_quality"], after["CLIP_stop_at_last_layers"]) == (80, 1)


async def test_of_two_who_choose_a_checkpoint_the_last_one_counts(world, loaded_checkpoint, until):
    switch = Switching(world, loaded_checkpoint)
    going_on = asyncio.Event()

    async def slowly(path):
        begun.append(path.stem)
        await going_on.wait()
        await switch(path)

    begun = []
    world.services.switch = slowly
    first = asyncio.create_task(set_options(world, sd_model_checkpoint="other"))
    await until(lambda: begun)
    second = asyncio.create_task(set_options(world, sd_model_checkpoint="shapes"))
    assert (await set_options(world, jpeg_quality=50)).status_code == 200
    going_on.set()
    assert [each.status_code for each in await asyncio.gather(first, second)] == [200, 200]
    assert (begun, world.served[0]) == (["other", "shapes"], "shapes")


async def test_a_switch_that_fails_is_told_and_nothing_is_kept(world, loaded_checkpoint):
    error = CheckpointError("other.safetensors: is cut off")
    world.services.switch = Switching(world, loaded_checkpoint, error)
    response = await set_options(world, sd_model_checkpoint="other", jpeg_quality=50)
    assert response.status_code == 422
    assert response.json()["detail"] == "other.safetensors: is cut off"
    assert (await get(world, "/sdapi/v1/options"))["jpeg_quality"] == 80


async def test_a_clip_skip_beyond_the_text_encoder_does_not_spoil_later_requests(world):
    response = await set_options(world, CLIP_stop_at_last_layers=5)
    async with world.client() as client:
        later = await client.post("/sdapi/v1/txt2img", json={"width": 64, "height": 64})
    assert response.status_code == 422
    assert "CLIP_stop_at_last_layers: 5 is not supported; allowed: 1 to 4" in response.json()["detail"]
    assert later.status_code == 200


async def test_memory_is_of_this_process(world):
    memory = await get(world, "/sdapi/v1/memory")
    ram = memory["ram"]
    assert 0 < ram["used"] < ram["total"]
    assert ram["free"] == ram["total"] - ram["used"]
    assert memory["cuda"] == {"error": "this server computes on no GPU"}


def _counted(name, current):
    """A counter as torch's allocator names it."""
    return {f"{name}.all.current": current, f"{name}.all.peak": current + 1}


async def test_memory_of_a_gpu_is_told_under_all_of_a1111s_names(world, monkeypatch):
    stats = {"num_alloc_retries": 1, "num_ooms": 2}
    names = ("allocated_bytes", "active_bytes", "reserved_bytes", "inactive_split_bytes")
    for number, name in enumerate(names, 1):
        stats |= _counted(name, 10 * number)
    # What a machine without a GPU can know of one: torch's own names, as its driver would fill them.
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (30, 80))
    monkeypatch.setattr("torch.cuda.memory_stats_as_nested_dict", lambda: _nested(stats))
    assert (await get(world, "/sdapi/v1/memory"))["cuda"] == {
        "system": {"free": 30, "used": 50, "total": 80},
        "allocated": {"current": 10, "peak": 11},
        "active": {"current": 20, "peak": 21},
        "reserved": {"current": 30, "peak": 31},
        "inactive": {"current": 40, "peak": 41},
        "events": {"retries": 1, "oom": 2},
    }


def _nested(flat):
    nested = {}
    for key, value in flat.items():
        *above, last = key.split(".")
        inner = nested
        for name in above:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return nested


async def test_flags_tell_the_checkpoint_and_the_port(world):
    flags = await get(world, "/sdapi/v1/cmd-flags")
    assert (Path(flags["ckpt"]).name, flags["port"]) == ("shapes.safetensors", 7860)


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
async def test_png_info_reads_a_picture(world, prefix):
    text = "a cat\nSteps: 4, Sampler: Euler, Seed: 7, Size: 64x64"
    png = codec.encode(np.zeros((8, 8, 3), dtype=np.uint8), "png", text)
    async with world.client() as client:
        response = await client.post(
            "/sdapi/v1/png-info", json={"image": prefix + base64.b64encode(png).decode()}
        )
    answer = response.json()
    assert (answer["info"], answer["items"]) == (text, {})
    assert (answer["parameters"]["Prompt"], answer["parameters"]["Size-2"]) == ("a cat", "64")


async def test_flags_tell_which_origins_pages_may_have(make_world, prompt_engine):
    world = make_world(prompt_engine, cors_origins="https://a.example, https://b.example")
    flags = await get(world, "/sdapi/v1/cmd-flags")
    assert flags["cors_allow_origins"] == "https://a.example,https://b.example"


async def test_reloading_waits_for_nothing_once_a_checkpoint_is_loaded(world, make_world):
    async with world.client() as client:
        assert (await client.post("/sdapi/v1/reload-checkpoint")).json() == {}


@pytest.mark.parametrize(("form", "ending"), [("jpg", "jpeg"), ("webp", "webp")])
async def test_png_info_reads_other_formats_too(world, form, ending):
    text = "a cat, ö\nSteps: 4, Sampler: Euler, Seed: 7, Size: 64x64"
    data = codec.encode(np.zeros((8, 8, 3), dtype=np.uint8), form, text)
    uri = f"data:image/{ending};base64,{base64.b64encode(data).decode()}"
    async with world.client() as client:
        response = await client.post("/sdapi/v1/png-info", json={"image": uri})
    assert (response.json()["info"], response.json()["parameters"]["Seed"]) == (text, "7")


async def test_png_info_of_a_picture_without_parameters_is_empty(world):
    png = codec.encode(np.zeros((8, 8, 3), dtype=np.uint8), "png", None)
    async with world.client() as client:
        response = await client.post("/sdapi/v1/png-info", json={"image": base64.b64encode(png).decode()})
    assert response.json() == {"info": "", "items": {}, "parameters": {}}


@pytest.mark.parametrize(
    "image",
    ["", "aGk=", "!!!", "http://169.254.169.254/", "data:image/png;base64", "data:image/png,aGk=", "data:,"],
)
async def test_png_info_refuses_what_is_no_picture(world, image):
    async with world.client() as client:
        response = await client.post("/sdapi/v1/png-info", json={"image": image})
    assert response.status_code == 422
    assert "image" in response.json()["detail"]
