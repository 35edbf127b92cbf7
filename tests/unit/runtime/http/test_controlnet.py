"""The routes of sd-webui-controlnet, and units over A1111's routes: what is answered, in which order, with
which status."""

import asyncio
import base64
import hashlib
import io
import json

import httpx
import numpy as np
import pytest
import small_files
from control_units import scripts
from fake_plugins import FakePlugins
from PIL import Image

from sd_modelfiles.family import Family
from sd_runtime.errors import SdError
from sd_runtime.images.codec import encode

TXT2IMG, IMG2IMG, DETECT = "/sdapi/v1/txt2img", "/sdapi/v1/img2img", "/controlnet/detect"
SMALL = {"width": 64, "height": 64, "steps": 2, "seed": 5}
ARGS = "alwayson_scripts.controlnet.args"
HASH = hashlib.sha256(b"").hexdigest()[:8]


def picture(width=64, height=64, value=9):
    pixels = np.full((height, width, 3), value, np.uint8)
    pixels[:, width // 2 :] = 200
    return base64.b64encode(encode(pixels, "png", None)).decode()


def read(text):
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.asarray(image), dict(image.text)


@pytest.fixture
async def world(make_world, manual_engine):
    """A server whose engine asks for the maps of each task, and makes its pictures at once."""

    class Asking(type(manual_engine)):
        def submit(self, task, **more):
            ticket = super().submit(task, **more)
            try:
                for control in getattr(task, "controls", ()):
                    control.hint.get()
            except SdError as error:
                ticket.fail(error)
                return ticket
            ticket.step(task.steps)
            ticket.finish()
            return ticket

    made = make_world(Asking())
    made.services.plugins = FakePlugins()
    folder = made.root / "bundle" / "models" / "ControlNet"
    folder.mkdir()
    (folder / "canny_sd15.safetensors").write_bytes(small_files.controlnet(Family.SD15))
    (folder / "canny_xl.safetensors").write_bytes(small_files.controlnet(Family.SDXL))
    await made.load()
    return made


def unit(**fields):
    return {"module": "canny", "model": "canny_sd15", "image": picture()} | fields


async def post(world, path, body):
    async with world.client() as client:
        return await client.post(path, json=body)


async def get(world, path):
    async with world.client() as client:
        response = await client.get(path)
    assert response.status_code == 200, response.text
    return response.json()


async def test_what_there_is_can_be_asked_for(world):
    assert await get(world, "/controlnet/version") == {"version": 3}
    models = {"model_list": [f"canny_sd15 [{HASH}]", f"canny_xl [{HASH}]"]}
    assert await get(world, "/controlnet/model_list") == models
    assert await get(world, "/controlnet/model_list?update=false") == models
    modules = await get(world, "/controlnet/module_list?alias_names=true")
    assert "inpaint_global_harmonious" in modules["module_list"]
    types = (await get(world, "/controlnet/control_types"))["control_types"]
    assert types["Canny"]["default_option"] == "Canny"
    assert types["Canny"]["default_model"] == f"canny_sd15 [{HASH}]"  # the served checkpoint is an SD15
    assert await get(world, "/controlnet/settings") == {"control_net_unit_count": 3}


async def test_the_number_of_units_is_the_options(world):
    await post(world, "/sdapi/v1/options", {"control_net_unit_count": 7})
    assert await get(world, "/controlnet/settings") == {"control_net_unit_count": 7}
    told = await get(world, "/sdapi/v1/script-info")
    assert len(told[0]["args"]) == 7


async def test_maps_follow_the_pictures_and_have_no_infotext(world):
    response = await post(world, TXT2IMG, SMALL | {"batch_size": 2} | scripts(unit(), unit(module="none")))
    assert response.status_code == 200, response.text
    first, second, edges, plain = (read(each) for each in response.json()["images"])
    assert (first[0] == 5).all() and (second[0] == 6).all()
    assert "ControlNet 0" in first[1]["parameters"] and "ControlNet 1" in first[1]["parameters"]
    assert set(np.unique(edges[0])) == {0, 255} and edges[1] == {}
    assert plain[0][0, 0, 0] == 9 and plain[0][0, -1, 0] == 200
    info = json.loads(response.json()["info"])
    assert info["all_seeds"] == [5, 6] and len(info["infotexts"]) == 2
    assert info["extra_generation_params"]["ControlNet 0"].startswith("Module: canny, Model: canny_sd15 [")


@pytest.mark.parametrize(
    ("body", "own", "count"),
    [
        ({}, {}, 2),
        ({}, {"save_detected_map": False}, 1),
        ({"override_settings": {"control_net_no_detectmap": True}}, {}, 1),
        ({"enable_hr": True}, {}, 3),
        ({"send_images": False}, {}, 0),
        ({"n_iter": 2}, {"image": [{"image": picture(8, 8)}, {"image": picture(16, 16)}]}, 4),
        ({"save_images": True, "batch_size": 2}, {}, 4),
    ],
)
async def test_maps_are_added_unless_told_not(world, body, own, count):
    response = await post(world, TXT2IMG, SMALL | body | scripts(unit(**own)))
    assert len(response.json()["images"]) == count


async def test_maps_are_at_the_pictures_size_with_hires_fix_the_larger_one_first(world):
    response = await post(world, TXT2IMG, SMALL | {"enable_hr": True} | scripts(unit(image=picture(30, 20))))
    _, large, small = (read(each)[0] for each in response.json()["images"])
    assert (large.shape, small.shape) == ((128, 128, 3), (64, 64, 3))


async def test_only_pictures_are_saved(world):
    await post(world, TXT2IMG, SMALL | scripts(unit()))
    assert len(world.saved()) == 1


async def test_in_img2img_the_picture_that_is_drawn_over_is_the_default(world):
    body = {"init_images": [picture(value=70)]} | SMALL | scripts(unit(module="none", image=None))
    response = await post(world, IMG2IMG, body)
    assert read(response.json()["images"][1])[0][0, 0, 0] == 70


async def test_where_only_the_masked_part_is_drawn_its_map_is_made_of_that_part(world):
    mask = np.zeros((64, 64), np.uint8)
    mask[:16, 48:] = 255
    mask = base64.b64encode(encode(mask, "png", None)).decode()
    body = {"init_images": [picture()], "mask": mask, "mask_blur": 0, "inpaint_full_res": True} | SMALL
    shown = []
    for crops in (True, False):
        given = unit(module="invert", image=None, inpaint_crop_input_image=crops)
        response = await post(world, IMG2IMG, body | scripts(given))
        assert response.status_code == 200, response.text
        shown.append(read(response.json()["images"][1])[0])
    assert (shown[0] == 55).all()  # the right half alone
    assert (shown[1][:, :20] == 246).all()


async def test_inpaint_only_lays_the_original_over_what_is_not_masked(world):
    mask = np.zeros((64, 64), np.uint8)
    mask[:, :32] = 255
    given = unit(
        module="inpaint_only", mask=base64.b64encode(encode(mask, "png", None)).decode(), image=picture()
    )
    response = await post(world, TXT2IMG, SMALL | scripts(given))
    drawn, dimmed = (read(each)[0] for each in response.json()["images"])
    assert (drawn[:, :24] == 5).all() and (drawn[:, 48:] == 200).all()
    assert (dimmed[:, :32] == 4).all() and (dimmed[:, 32:] == 200).all()


async def test_an_answers_parameters_repeat_units_without_pictures(world):
    response = await post(world, TXT2IMG, SMALL | scripts(unit(weight=0.5)))
    (told,) = response.json()["parameters"]["alwayson_scripts"]["controlnet"]["args"]
    assert told == {"module": "canny", "model": "canny_sd15", "weight": 0.5, "image": None}


@pytest.mark.parametrize(
    ("given", "status", "told"),
    [
        (unit(weight=3), 422, f"{ARGS}.0.weight"),
        (unit(module="sobel"), 422, f"{ARGS}.0.module"),
        (unit(model="canny_xl"), 422, f"{ARGS}.0.model"),
        (unit(image=None), 422, f"{ARGS}.0.image"),
        (unit(image="!!"), 422, f"{ARGS}.0.image"),
        (unit(image={"image": picture(), "mask": "!!"}), 422, f"{ARGS}.0.image.mask"),
        (unit(mask=picture(8, 8)), 422, f"{ARGS}.0.mask"),
        (unit(effective_region_mask="!!"), 422, f"{ARGS}.0.effective_region_mask"),
        (unit(image="http://example.com/a.png"), 422, f"{ARGS}.0.image"),
        (unit(image="/etc/hostname"), 422, f"{ARGS}.0.image"),
        (unit(module="openpose_full"), 503, "nobody listens at its socket"),
        (unit(module="mlsd"), 502, "plugin broken: module mlsd failed"),
        ("canny", 422, f"{ARGS}.0"),
    ],
    ids=lambda given: given if isinstance(given, str) else None,
)
async def test_what_cannot_be_is_told_and_leaves_nothing_behind(world, given, status, told):
    response = await post(world, TXT2IMG, SMALL | scripts(given))
    assert response.status_code == status, response.text
    assert told in response.json()["detail"]
    assert world.saved() == []
    assert world.services.intake.pixels.held == 0
    if status != 502:
        assert world.engine.tickets == []


async def test_pictures_of_all_units_together_are_bounded(make_world, prompt_engine):
    world = make_world(prompt_engine, max_pixels_per_request=3 * 64 * 64)
    await world.load()
    response = await post(world, TXT2IMG, SMALL | scripts(unit(), unit(), unit(), unit()))
    assert response.status_code == 422
    assert "together" in response.json()["detail"]


async def test_maps_count_among_the_pixels_that_requests_hold(world):
    held = []
    take = type(world.services.intake.pixels).take

    async def watching(budget, amount):
        held.append(amount)
        return await take(budget, amount)

    world.services.intake.pixels.take = watching.__get__(world.services.intake.pixels)
    await post(world, TXT2IMG, SMALL | scripts(unit(processor_res=128)))
    assert 128 * 128 + 64 * 64 in held
    assert world.services.intake.pixels.held == 0


async def test_a_picture_files_units_are_read_back(world):
    response = await post(world, TXT2IMG, SMALL | scripts(unit(weight=0.5, threshold_a=30)))
    file = response.json()["images"][0]
    told = (await post(world, "/sdapi/v1/png-info", {"image": file})).json()
    assert told["parameters"]["ControlNet 0 weight"] == "0.5"
    again = await post(world, TXT2IMG, {"infotext": told["info"]} | scripts({"image": picture()}))
    assert again.status_code == 200, again.text
    assert read(again.json()["images"][0])[1]["parameters"] == told["info"]


async def test_a_job_takes_units_too(world):
    body = {"kind": "txt2img", "parameters": SMALL | scripts(unit())}
    async with world.client() as client:
        job = (await client.post("/v1/jobs", json=body)).json()
        for _ in range(500):
            result = await client.get(f"/v1/jobs/{job['id']}/result")
            if result.status_code == 200:
                break
            await asyncio.sleep(0.01)
    assert len(result.json()["images"]) == 2


def detecting(**fields):
    return {"controlnet_module": "canny", "controlnet_input_images": [picture()]} | {
        f"controlnet_{name}": value for name, value in fields.items()
    }


async def test_detect_answers_a_map_for_each_picture(world):
    body = detecting(input_images=[picture(), picture(8, 8)], processor_res=256) | {"low_vram": True}
    response = await post(world, DETECT, body)
    assert response.status_code == 200, response.text
    assert set(response.json()) == {"info", "images"} and response.json()["info"] == "Success"
    assert [read(each)[0].shape for each in response.json()["images"]] == [(64, 64, 3), (8, 8, 3)]
    assert world.services.plugins.runs[0][3] == {"resolution": 256, "low": 100, "high": 200}
    assert world.engine.tickets == []


async def test_detect_hands_on_the_poses_that_a_module_tells(world):
    world.services.plugins.info = {"poses": [{"people": [], "canvas_width": 64}], "seconds": 0.1}
    response = await post(world, DETECT, detecting(module="openpose"))
    assert response.json()["poses"] == [{"people": [], "canvas_width": 64}]


@pytest.mark.parametrize("poses", [[float("nan")], "x", ["\ud800"], [{1, 2}]])
async def test_poses_that_are_no_json_are_the_plugins_failure(world, poses):
    world.services.plugins.info = {"poses": poses}
    response = await post(world, DETECT, detecting(module="openpose"))
    assert response.status_code == 502
    assert "plugin poses: module openpose" in response.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({}, 422, "controlnet_input_images"),
        ({"controlnet_images": [picture()]}, 422, "controlnet_input_images"),
        (detecting(module="sobel"), 422, "controlnet_module"),
        (detecting(input_images=["!!"]), 422, "controlnet_input_images.0"),
        (detecting(input_images="text"), 422, "controlnet_input_images"),
        (detecting(masks=[picture()]), 422, "controlnet_masks"),
        (detecting(module="blur_gaussian", masks=[picture(), picture()]), 422, "controlnet_masks"),
        (detecting(module="blur_gaussian", masks=["", picture()]), 422, "controlnet_masks"),
        (detecting(module="blur_gaussian", masks=[picture(8, 8)]), 422, "controlnet_masks.0"),
        (detecting(module="inpaint"), 422, "controlnet_masks"),
        (detecting(threshold_a=90, threshold_b=30), 422, "controlnet_threshold_a"),
        (detecting(processor_res=1e9), 422, "controlnet_processor_res"),
        (detecting(module="invert", input_images=[picture(), picture(2048, 1024)]), 422, "input_images.1"),
        (detecting(module="openpose_full"), 503, "nobody listens"),
        (detecting(module="mlsd"), 502, "plugin broken"),
    ],
)
async def test_detect_refuses_by_name(world, body, status, told):
    response = await post(world, DETECT, body)
    assert (response.status_code, told in response.json()["detail"]) == (status, True), response.text


async def test_an_empty_mask_is_none_for_detect(world):
    assert (await post(world, DETECT, detecting(masks=["", ""]))).status_code == 200


async def test_a_module_that_takes_a_mask_is_given_it_by_detect(world):
    response = await post(world, DETECT, detecting(module="blur_gaussian", masks=[picture()]))
    assert response.status_code == 200
    assert world.services.plugins.runs[0][2].shape == (64, 64)


async def test_the_schema_tells_of_units_and_of_each_route(world):
    schema = (await get(world, "/openapi.json"))["components"]["schemas"]
    scripts_ = schema["Txt2ImgRequest"]["properties"]["alwayson_scripts"]
    unit_ = scripts_["properties"]["controlnet"]["properties"]["args"]["items"]
    assert {"module", "model", "weight", "image"} <= set(unit_["properties"])
    assert unit_["properties"]["weight"]["maximum"] == 2
    assert "controlnet_input_images" in schema["DetectRequest"]["properties"]
    assert {"ModuleList", "ModelList", "ControlTypes", "DetectResponse"} <= set(schema)


async def test_every_route_asks_for_credentials(world):
    async with httpx.AsyncClient(transport=world.client()._transport, base_url="http://sd") as stranger:
        for path in ("version", "model_list", "module_list", "control_types", "settings"):
            assert (await stranger.get(f"/controlnet/{path}")).status_code == 401
        assert (await stranger.post(DETECT, json=detecting())).status_code == 401
