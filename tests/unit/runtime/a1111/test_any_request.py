"""Whatever a request says, it is planned or refused: nothing else can happen."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sd_modelfiles.kinds import ModelType
from sd_runtime.a1111.schemas import Img2ImgRequest, Txt2ImgRequest
from sd_runtime.errors import UnsupportedError

names = st.sampled_from(["", "None", "ink", "shapes", "fine", "soft", "Lanczos", "Latent", "no such thing"])
texts = st.text(max_size=30) | st.sampled_from(
    ["(a:1.2) [b|c]", "a AND b:0.5", "<lora:ink:0.5>", "<lora:gone>", "[a:b:3]", "# comment", "a BREAK b"]
)
numbers = st.sampled_from([-1, 0, 1, 2, 4, 8, 63, 64, 72, 128, 512]) | st.floats() | st.integers()
likely = st.sampled_from([0, 1, 2, 64, 128, 0.5, 1.5])
anything = names | texts | numbers | st.booleans() | st.none() | st.just([]) | st.just({})
samplers = st.sampled_from(
    ["Euler", "Euler a", "DPM++ 2M Karras", "k_heun", "", "turbo", "karras", "Use same sampler"]
)


def bodies(schema: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Each field absent, or one of what clients send for such a field, or anything."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for name, field in schema.model_fields.items():
        if name in ("mask", "init_images"):
            continue  # decoded before a request is planned
        usual = likely if isinstance(field.default, int | float) else texts | names
        if "sampler" in name or "scheduler" in name:
            usual = samplers
        if isinstance(field.default, bool):
            usual = st.booleans()
        fields[name] = st.one_of(*[usual] * 9, numbers if usual is likely else anything, anything)
    few = st.dictionaries(st.sampled_from(sorted(fields)), st.none(), max_size=8)
    return few.flatmap(lambda chosen: st.fixed_dictionaries({name: fields[name] for name in chosen}))


pairs = st.tuples(
    st.sampled_from(
        [
            *("Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Denoising strength", "ENSD"),
            *("RNG", "Hires upscale", "Hires resize", "Hires upscaler", "Hires steps", "Mask blur", "Eta"),
            *("Masked content", "Inpaint area", "Mask mode", "Refiner", "Refiner switch at", "Tiling"),
            *("Clip skip", "VAE", "Model hash", "Hires sampler", "Hires checkpoint", "Hires prompt"),
        ]
    ),
    st.one_of(
        numbers.map(str), samplers, names, st.sampled_from(["64x64", "0x9", "True", "GPU", "original"])
    ),
)


def offered(plan: Any, body: dict[str, Any]) -> None:
    try:
        plan(**body)
    except (UnsupportedError, ValidationError):
        return


@pytest.fixture
def furnished(desk):
    desk.put(ModelType.LORA, "ink.safetensors")
    desk.put(ModelType.CHECKPOINT, "fine.safetensors")
    desk.put(ModelType.VAE, "soft.safetensors")
    desk.limits = type(desk.limits)(pixels=4 * 512 * 512)
    return desk


lenient = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@lenient
@given(bodies(Txt2ImgRequest))
def test_any_body_of_txt2img_is_planned_or_refused(furnished, body):
    offered(furnished.txt2img, body)


@lenient
@given(bodies(Img2ImgRequest), st.integers(1, 3), st.booleans())
def test_any_body_of_img2img_is_planned_or_refused(furnished, body, images, masked):
    offered(lambda **fields: furnished.img2img(images=images, mask=masked, **fields), body)


@lenient
@given(st.lists(pairs, min_size=3, max_size=8), st.booleans())
def test_any_infotext_is_planned_or_refused(furnished, said, of_img2img):
    text = "a cat\n" + ", ".join(f"{key}: {value}" for key, value in said)
    offered(furnished.img2img if of_img2img else furnished.txt2img, {"infotext": text})
