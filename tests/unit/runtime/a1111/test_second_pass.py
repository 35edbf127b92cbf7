"""The second pass of txt2img: sizes as A1111 computes them, and what it takes over from the first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd_modelfiles.kinds import ModelType
from sd_runtime.a1111 import second_pass
from sd_runtime.a1111.schemas import Txt2ImgRequest
from sd_runtime.errors import UnsupportedError

SMALL = {"width": 64, "height": 64}


@pytest.mark.parametrize(
    ("body", "first", "enlarged", "final"),
    [
        ({}, (512, 512), (1024, 1024), (1024, 1024)),
        ({"width": 512, "height": 768, "hr_scale": 1.5}, (512, 768), (768, 1152), (768, 1152)),
        ({"hr_scale": 1.3}, (512, 512), (664, 664), (664, 664)),
        ({"hr_resize_x": 1024}, (512, 512), (1024, 1024), (1024, 1024)),
        ({"width": 512, "height": 768, "hr_resize_y": 1152}, (512, 768), (768, 1152), (768, 1152)),
        ({"hr_resize_x": 1024, "hr_resize_y": 768}, (512, 512), (1024, 1024), (1024, 768)),
        ({"hr_resize_x": 768, "hr_resize_y": 1024}, (512, 512), (1024, 1024), (768, 1024)),
        (
            {"width": 512, "height": 768, "hr_resize_x": 1024, "hr_resize_y": 1024},
            (512, 768),
            (1024, 1536),
            (1024, 1024),
        ),
        (
            {"width": 1024, "height": 1536, "firstphase_width": 512, "firstphase_height": 768},
            (512, 768),
            (1024, 1536),
            (1024, 1536),
        ),
        (
            {"firstphase_width": 256, "firstphase_height": 256, "hr_resize_x": 768},
            (256, 256),
            (768, 768),
            (768, 768),
        ),
    ],
)
def test_the_sizes_of_both_passes(body, first, enlarged, final):
    sizes = second_pass.sizes_of(Txt2ImgRequest(enable_hr=True, **body))
    assert (sizes.first, sizes.enlarged, sizes.final) == (first, enlarged, final)


sides = st.integers(8, 128).map(lambda eighths: eighths * 8)
targets = st.integers(0, 256).map(lambda eighths: eighths * 8)


@given(sides, sides, targets, targets, st.floats(1, 8))
def test_what_is_enlarged_to_covers_the_picture_in_whole_latents(width, height, x, y, scale):
    sizes = second_pass.sizes_of(
        Txt2ImgRequest(width=width, height=height, hr_resize_x=x, hr_resize_y=y, hr_scale=scale)
    )
    for enlarged, final in zip(sizes.enlarged, sizes.final, strict=True):
        assert enlarged >= final
        assert enlarged % 8 == final % 8 == 0
    assert any(a == b for a, b in zip(sizes.enlarged, sizes.final, strict=True))
    if x and y:
        assert sizes.final == (x, y)


def test_without_enable_hr_there_is_none_whatever_its_fields_say(desk):
    plan = desk.txt2img(**SMALL, hr_scale=0, hr_upscaler="no such thing", hr_checkpoint_name="nor this")
    assert plan.second is None
    assert plan.iterations[0][0].hires is None


def test_it_takes_over_what_is_not_said_of_it(desk):
    plan = desk.txt2img(
        **SMALL,
        enable_hr=True,
        steps=7,
        sampler_name="DPM++ 2M Karras",
        prompt="a cat",
        denoising_strength=0.4,
    )
    hires = plan.iterations[0][0].hires
    assert (hires.width, hires.height, hires.denoising_strength) == (128, 128, 0.4)
    assert (hires.guided.sampler, hires.guided.scheduler, hires.guided.steps) == ("DPM++ 2M", "karras", 7)
    assert (hires.guided.prompt, hires.upscaler.name, hires.checkpoint) == ("a cat", "Latent", None)


def test_it_may_have_everything_of_its_own(desk):
    other = desk.put(ModelType.CHECKPOINT, "other.safetensors")
    ink = desk.put(ModelType.LORA, "ink.safetensors")
    desk.put(ModelType.UPSCALER, "sharp.safetensors")
    desk.set(esrgan_tile=64, esrgan_tile_overlap=4)
    plan = desk.txt2img(
        **SMALL,
        enable_hr=True,
        steps=7,
        prompt="a cat",
        hr_second_pass_steps=3,
        hr_sampler_name="Heun",
        hr_scheduler="exponential",
        hr_prompt="a dog <lora:ink:0.5>",
        hr_negative_prompt="blurry",
        hr_upscaler="sharp",
        hr_checkpoint_name="other",
    )
    task = plan.iterations[0][0]
    hires = task.hires
    assert (hires.guided.sampler, hires.guided.scheduler, hires.guided.steps) == ("Heun", "exponential", 3)
    assert (hires.guided.prompt.strip(), hires.guided.negative_prompt) == ("a dog", "blurry")
    assert [use.path for use in hires.guided.adapters] == [ink]
    assert (hires.upscaler.name, hires.upscaler.tile, hires.upscaler.overlap) == ("sharp", 64, 4)
    assert hires.checkpoint == other
    assert (task.guided.sampler, task.guided.adapters, task.checkpoint) == ("Euler", (), None)
    assert [network.name for network in plan.all_networks] == ["ink"]


def test_the_words_for_the_same_mean_the_same(desk):
    plan = desk.txt2img(
        **SMALL,
        enable_hr=True,
        hr_sampler_name="Use same sampler",
        hr_scheduler="Use same scheduler",
        hr_checkpoint_name="Use same checkpoint",
    )
    assert (plan.second.choice, plan.second.checkpoint) == (plan.choice, None)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"hr_upscaler": "no such thing"}, "hr_upscaler"),
        ({"hr_sampler_name": "no such thing"}, "hr_sampler_name"),
        ({"hr_scheduler": "no such thing"}, "hr_scheduler"),
        ({"hr_checkpoint_name": "no such thing"}, "hr_checkpoint_name"),
        ({"hr_prompt": "<lora:missing:1>"}, "hr_prompt"),
        ({"hr_scale": 0.5}, "hr_scale"),
        ({"hr_resize_x": 32}, "hr_resize_x"),
        ({"firstphase_width": 64}, "firstphase_height"),
    ],
)
def test_what_cannot_be_honoured_is_refused_under_its_own_field(desk, body, field):
    with pytest.raises(UnsupportedError) as caught:
        desk.txt2img(**SMALL, enable_hr=True, **body)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "name", ["Latent (nearest-exact)", "latent (bicubic antialiased)", "Lanczos", "None"]
)
def test_ways_of_enlarging_that_need_no_file(desk, name):
    upscaler = desk.txt2img(**SMALL, enable_hr=True, hr_upscaler=name).second.upscaler
    assert (upscaler.name.lower(), upscaler.path) == (name.lower(), None)
