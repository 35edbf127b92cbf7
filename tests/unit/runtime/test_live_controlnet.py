"""The whole serving half with real tiny networks, a ControlNet among them, and modules that are written down:
units change pictures, and their maps come back with them."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
from control_units import scripts
from fake_plugins import FakePlugins
from live_server import serving
from PIL import Image

from sd_runtime.health import Health
from sd_runtime.images.codec import encode
from sd_runtime.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAIT = 60.0
TXT2IMG, IMG2IMG = "/sdapi/v1/txt2img", "/sdapi/v1/img2img"
REQUEST = {
    "prompt": "a red cat",
    "width": 64,
    "height": 64,
    "steps": 4,
    "seed": 11,
    "override_settings": {"samples_save": False},
}


def _controlnet(unet: Any) -> dict[str, Any]:
    """A ControlNet of the tiny U-Net that says something: untrained ones say nothing at all."""
    import torch
    from diffusers import ControlNetModel

    torch.manual_seed(3)
    network = ControlNetModel.from_unet(unet)
    with torch.no_grad():
        for convolution in (*network.controlnet_down_blocks, network.controlnet_mid_block):
            convolution.weight.normal_(0, 0.3)
        network.controlnet_cond_embedding.conv_out.weight.normal_(0, 3)
    return {name: value.detach().clone().contiguous() for name, value in network.state_dict().items()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def live(
    checkpoint_file: Path, networks: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Any]:
    """A server of the tiny checkpoint, with a ControlNet and plugins."""
    from safetensors.torch import save_file

    root = tmp_path_factory.mktemp("bundle")
    for name in ("Stable-diffusion", "ControlNet"):
        (root / "models" / name).mkdir(parents=True)
    path = root / "models" / "Stable-diffusion" / "tiny.safetensors"
    path.write_bytes(checkpoint_file.read_bytes())
    save_file(_controlnet(networks[0]), root / "models" / "ControlNet" / "tiny_canny.safetensors")
    settings = Settings(
        model_roots=(root,), checkpoint=path, auth="disabled", output_dir=root / "outputs", device="cpu"
    )
    async with serving(settings) as live:
        live.services.plugins = FakePlugins()
        async with asyncio.timeout(WAIT):
            while live.services.state.health is not Health.READY:
                await asyncio.sleep(0.01)
        yield live


@pytest.fixture
def users(live: Any) -> httpx.AsyncClient:
    client: httpx.AsyncClient = live.users
    return client


def drawing(value: int = 255) -> str:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[16:48, 16:48] = value
    return base64.b64encode(encode(pixels, "png", None)).decode()


def unit(**fields: Any) -> dict[str, Any]:
    return {"module": "canny", "model": "tiny_canny", "image": drawing()} | fields


async def answered(users: httpx.AsyncClient, body: dict[str, Any], path: str = TXT2IMG) -> dict[str, Any]:
    response = await users.post(path, json=REQUEST | body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def pixels_of(text: str) -> Any:
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.asarray(image).astype(int)


async def pictures(users: httpx.AsyncClient, body: dict[str, Any], path: str = TXT2IMG) -> list[Any]:
    return [pixels_of(each) for each in (await answered(users, body, path))["images"]]


async def difference(users: httpx.AsyncClient, *units: Any, **body: Any) -> float:
    """Of the first picture with these units to that without."""
    plain, *_ = await pictures(users, body)
    steered, *_ = await pictures(users, body | scripts(*units))
    return float(np.abs(steered - plain).mean())


async def test_a_unit_changes_the_picture_and_more_so_with_more_weight(users: httpx.AsyncClient) -> None:
    weak, strong = [await difference(users, unit(weight=weight)) for weight in (0.3, 1.5)]
    assert 0 < weak < strong


@pytest.mark.parametrize("off", [{"weight": 0}, {"enabled": False}], ids=str)
async def test_a_unit_of_no_weight_is_as_none(users: httpx.AsyncClient, off: dict[str, Any]) -> None:
    assert await difference(users, unit(**off)) == 0


@pytest.mark.parametrize(
    ("own", "changed"),
    [
        ({"guidance_start": 0.5}, True),
        ({"guidance_end": 0.5}, True),
        ({"control_mode": 1}, True),
        ({"control_mode": 2}, True),
        ({"module": "none"}, True),
        ({"image": drawing(128), "module": "none"}, True),
        ({"effective_region_mask": drawing()}, True),
        ({"pixel_perfect": True, "low_vram": True, "processor_res": 512}, False),
        ({"hr_option": "High res only"}, False),
    ],
    ids=lambda given: "+".join(given) if isinstance(given, dict) else "",
)
async def test_each_field_has_its_effect(
    users: httpx.AsyncClient, own: dict[str, Any], *, changed: bool
) -> None:
    usual, *_ = await pictures(users, scripts(unit()))
    other, *_ = await pictures(users, scripts(unit(**own)))
    assert np.array_equal(usual, other) is not changed


async def test_two_units_are_more_than_each(users: httpx.AsyncClient) -> None:
    one, other = unit(), unit(module="none", image=drawing(90))
    made = [(await pictures(users, scripts(*units)))[0] for units in ([one], [other], [one, other])]
    assert not np.array_equal(made[2], made[0]) and not np.array_equal(made[2], made[1])


async def test_the_second_pass_is_steered_where_the_unit_says_so(users: httpx.AsyncClient) -> None:
    hires = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.5}
    plain, *_ = await pictures(users, hires)
    made = [
        (await pictures(users, hires | scripts(unit(hr_option=option))))[0]
        for option in ("Both", "Low res only", "High res only")
    ]
    assert all(not np.array_equal(each, plain) for each in made)
    assert not np.array_equal(made[0], made[1]) and not np.array_equal(made[0], made[2])


async def test_a_set_gives_each_picture_its_own_map(users: httpx.AsyncClient) -> None:
    images = [{"image": drawing(255)}, {"image": drawing(0)}]
    given = scripts(unit(image=images, module="none"))
    first, second, *maps = await pictures(users, given | {"batch_size": 2})
    alone, _ = await pictures(users, scripts(unit(image=drawing(0), module="none")) | {"seed": 12})
    assert [int(each.max()) for each in maps] == [255, 0]
    assert np.abs(second - alone).max() <= 1
    assert not np.array_equal(first, second)


async def test_img2img_is_steered_by_what_is_drawn_over(users: httpx.AsyncClient) -> None:
    body = {"init_images": [drawing()], "denoising_strength": 0.8}
    plain, *_ = await pictures(users, body, IMG2IMG)
    steered, edges = await pictures(users, body | scripts(unit(image=None)), IMG2IMG)
    assert not np.array_equal(plain, steered)
    assert set(np.unique(edges)) == {0, 255}


@pytest.mark.parametrize("full_res", [False, True])
async def test_inpainting_is_steered_within_its_mask(users: httpx.AsyncClient, *, full_res: bool) -> None:
    body = {"init_images": [drawing()], "mask": drawing(), "mask_blur": 0, "inpaint_full_res": full_res}
    plain, *_ = await pictures(users, body, IMG2IMG)
    steered, *_ = await pictures(users, body | scripts(unit(module="none", image=drawing(90))), IMG2IMG)
    changed = np.abs(plain - steered).max(axis=2) > 0
    assert changed[16:48, 16:48].any() and not changed[:12].any()


@pytest.mark.parametrize(("place", "has_effect"), [(slice(0, 28), False), (slice(36, 64), True)], ids=str)
async def test_where_a_unit_has_an_effect_is_told_of_the_picture_also_where_a_part_is_drawn(
    users: httpx.AsyncClient, place: slice, *, has_effect: bool
) -> None:
    def corner(rows: slice, columns: slice) -> str:
        pixels = np.zeros((64, 64, 3), np.uint8)
        pixels[rows, columns] = 255
        return base64.b64encode(encode(pixels, "png", None)).decode()

    masked, region = corner(slice(36, 64), slice(36, 64)), corner(slice(0, 64), place)
    body = {
        "init_images": [drawing()],
        "mask": masked,
        "mask_blur": 0,
        "inpaint_full_res": True,
        "inpaint_full_res_padding": 0,
    }
    plain, *_ = await pictures(users, body, IMG2IMG)
    own = unit(module="none", image=drawing(90), effective_region_mask=region)
    steered, *_ = await pictures(users, body | scripts(own), IMG2IMG)
    assert np.array_equal(plain, steered) is not has_effect


async def test_an_inpainting_unit_is_not_shown_what_is_masked(users: httpx.AsyncClient) -> None:
    inpaint = unit(module="inpaint_global_harmonious", mask=drawing())
    hidden = {"module": "inpaint_global_harmonious", "mask": drawing(), "image": drawing(77)}
    one, *_ = await pictures(users, scripts(inpaint))
    other, *_ = await pictures(users, scripts(unit(**hidden)))
    assert np.array_equal(one, other)
    plain, *_ = await pictures(users, scripts(unit(module="none")))
    assert not np.array_equal(one, plain)


async def test_a_picture_is_made_again_from_its_infotext_and_the_map_it_came_with(
    users: httpx.AsyncClient,
) -> None:
    own = scripts(unit(weight=0.8, guidance_end=0.75, control_mode=1))
    answer = await answered(users, own)
    text = json.loads(answer["info"])["infotexts"][0]
    options = REQUEST["override_settings"]
    body = {"infotext": text, "override_settings": options} | scripts({"image": drawing()})
    again = (await users.post(TXT2IMG, json=body)).json()
    assert np.array_equal(pixels_of(again["images"][0]), pixels_of(answer["images"][0]))
    assert json.loads(again["info"])["infotexts"][0] == text
    from_map = {"image": answer["images"][1], "module": "none"}
    mapped = await pictures(users, scripts(unit(**from_map, weight=0.8, guidance_end=0.75, control_mode=1)))
    assert np.array_equal(mapped[0], pixels_of(answer["images"][0]))


async def test_a_module_that_fails_fails_its_request_and_no_other(users: httpx.AsyncClient) -> None:
    bodies = [REQUEST | scripts(unit(module="mlsd")), REQUEST | scripts(unit()), REQUEST]
    failed, steered, plain = await asyncio.gather(*(users.post(TXT2IMG, json=body) for body in bodies))
    assert failed.status_code == 502
    assert "plugin broken: module mlsd" in failed.json()["detail"]
    assert (steered.status_code, plain.status_code) == (200, 200)
