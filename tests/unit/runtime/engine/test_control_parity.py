"""With ControlNets the engine denoises to what diffusers' own ControlNet pipelines denoise to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import control_bench
import numpy as np
import pytest
import tiny_sdxl
import torch
from control_bench import HEIGHT, WIDTH, control, latents_of, map_of
from diffusers import (
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionControlNetImg2ImgPipeline,
    StableDiffusionControlNetInpaintPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionXLControlNetPipeline,
)
from engine_bench import Bench, picture, running
from transformers import CLIPTokenizer

from sd_runtime.models.checkpoint import TOKENIZER_DIR
from sd_runtime.tasks.img2img import Img2Img
from sd_runtime.tasks.recipe import Mask

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning",
    # diffusers' of its own names.
    "ignore::FutureWarning",
)

PROMPT, NEGATIVE = "a large red circle on a white background", "ugly, blue"
# As in test_parity.
STEPS, GUIDANCE, SEED = 4, 4.0, 11
CLOSE = 1e-3

LINEAR = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def euler() -> Any:
    return EulerDiscreteScheduler(**LINEAR, timestep_spacing="linspace", steps_offset=1)


@pytest.fixture(scope="module")
def nets(networks: tuple[Any, Any, Any]) -> list[Any]:
    return [control_bench.network(networks[0], seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def files(nets: list[Any], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("controlnets")
    return [control_bench.file(net, folder / f"net{i}.safetensors") for i, net in enumerate(nets)]


@pytest.fixture(scope="module")
def bench(checkpoint_file: Path) -> Iterator[Bench]:
    with running(checkpoint_file) as bench:
        yield bench


def components(networks: tuple[Any, Any, Any], scheduler: Any) -> dict[str, Any]:
    unet, vae, text = networks
    return {
        "unet": unet,
        "vae": vae,
        "text_encoder": text,
        "tokenizer": CLIPTokenizer.from_pretrained(TOKENIZER_DIR),
        "scheduler": scheduler,
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def shown(*seeds: int) -> list[torch.Tensor]:
    """Maps as pipelines take them."""
    return [torch.from_numpy(map_of(seed)).permute(2, 0, 1)[None] / 255 for seed in seeds]


def noise() -> torch.Tensor:
    return torch.randn(1, 4, HEIGHT // 8, WIDTH // 8, generator=torch.Generator().manual_seed(SEED))


def by_diffusers(pipeline: Any, **more: Any) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    latents: torch.Tensor = pipeline(
        PROMPT,
        negative_prompt=NEGATIVE,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        output_type="latent",
        **more,
    ).images
    return latents


def txt2img(**changes: Any) -> Any:
    task = picture(
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        width=WIDTH,
        height=HEIGHT,
        steps=STEPS,
        cfg_scale=GUIDANCE,
        sampler=changes.pop("sampler", "Euler"),
        scheduler=changes.pop("scheduler", "uniform"),
        seed=SEED,
    )
    return replace(task, **changes)


def assert_close(ours: torch.Tensor, theirs: torch.Tensor, without: torch.Tensor) -> None:
    assert float((ours - theirs).abs().max()) < CLOSE
    assert float((ours - without).abs().max()) > 100 * CLOSE, "the ControlNet changes nothing"


@pytest.mark.parametrize(
    ("start", "end"), [(0.0, 1.0), (0.0, 0.5), (0.5, 1.0), (0.25, 0.8), (0.3, 0.9)], ids=str
)
def test_sd15_equals_the_pipeline_at_any_start_and_end(
    bench: Bench, networks: Any, nets: list[Any], files: list[Path], start: float, end: float
) -> None:
    pipeline = StableDiffusionControlNetPipeline(**components(networks, euler()), controlnet=nets[0])
    theirs = by_diffusers(
        pipeline,
        image=shown(5)[0],
        latents=noise(),
        controlnet_conditioning_scale=0.8,
        control_guidance_start=start,
        control_guidance_end=end,
    )
    ours = latents_of(bench, txt2img(controls=(control(files[0], 5, weight=0.8, start=start, end=end),)))
    assert_close(ours, theirs, latents_of(bench, txt2img()))


def test_two_networks_equal_the_pipeline_of_several(
    bench: Bench, networks: Any, nets: list[Any], files: list[Path]
) -> None:
    pipeline = StableDiffusionControlNetPipeline(**components(networks, euler()), controlnet=nets)
    theirs = by_diffusers(
        pipeline,
        image=shown(5, 6),
        latents=noise(),
        controlnet_conditioning_scale=[1.0, 0.5],
        control_guidance_end=[1.0, 0.75],
    )
    controls = control(files[0], 5), control(files[1], 6, weight=0.5, end=0.75)
    one = latents_of(bench, txt2img(controls=controls[:1]))
    assert_close(latents_of(bench, txt2img(controls=controls)), theirs, one)


def test_one_network_with_two_maps_equals_the_pipeline_that_has_it_twice(
    bench: Bench, networks: Any, nets: list[Any], files: list[Path]
) -> None:
    twice = [nets[0], nets[0]]
    pipeline = StableDiffusionControlNetPipeline(**components(networks, euler()), controlnet=twice)
    theirs = by_diffusers(pipeline, image=shown(5, 6), latents=noise())
    controls = control(files[0], 5), control(files[0], 6)
    one = latents_of(bench, txt2img(controls=controls[:1]))
    assert_close(latents_of(bench, txt2img(controls=controls)), theirs, one)


def test_ddim_equals_the_pipeline(bench: Bench, networks: Any, nets: list[Any], files: list[Path]) -> None:
    scheduler = DDIMScheduler(**LINEAR, clip_sample=False, set_alpha_to_one=True, steps_offset=1)
    pipeline = StableDiffusionControlNetPipeline(**components(networks, scheduler), controlnet=nets[0])
    theirs = by_diffusers(pipeline, image=shown(5)[0], latents=noise())
    plain = txt2img(sampler="DDIM", scheduler="automatic")
    ours = latents_of(bench, replace(plain, controls=(control(files[0]),)))
    assert_close(ours, theirs, latents_of(bench, plain))


def painting(**changes: Any) -> Any:
    """Ours takes a step more than the share of its strength, as A1111 does: diffusers' 0.75 of 4 steps."""
    task = txt2img()
    chosen: dict[str, Any] = {"denoising_strength": 0.5, **changes}
    return Img2Img(
        guided=task.guided, noise=task.noise, image=map_of(7), width=WIDTH, height=HEIGHT, **chosen
    )


def initial(networks: Any) -> torch.Tensor:
    vae = networks[1]
    with torch.no_grad():
        mean = vae.encode(shown(7)[0] * 2 - 1).latent_dist.mode()
    return mean * vae.config.scaling_factor  # type: ignore[no-any-return]


def test_img2img_equals_the_pipeline(bench: Bench, networks: Any, nets: list[Any], files: list[Path]) -> None:
    pipeline = StableDiffusionControlNetImg2ImgPipeline(**components(networks, euler()), controlnet=nets[0])
    theirs = by_diffusers(
        pipeline,
        image=initial(networks),
        control_image=shown(5)[0],
        strength=0.75,
        controlnet_conditioning_scale=1.0,
        control_guidance_start=0.3,
        generator=torch.Generator().manual_seed(SEED),
    )
    ours = latents_of(bench, painting(controls=(control(files[0], start=0.3),)))
    assert_close(ours, theirs, latents_of(bench, painting()))


def test_inpainting_equals_the_pipeline(
    bench: Bench, networks: Any, nets: list[Any], files: list[Path]
) -> None:
    white = np.zeros((HEIGHT, WIDTH), np.uint8)
    white[:, : WIDTH // 2] = 255
    pipeline = StableDiffusionControlNetInpaintPipeline(**components(networks, euler()), controlnet=nets[0])
    # diffusers draws latents from the autoencoder's distribution, ours are its mean.
    pipeline._encode_vae_image = lambda image, generator: initial(networks)
    theirs = by_diffusers(
        pipeline,
        image=shown(7)[0] * 2 - 1,
        mask_image=torch.from_numpy(white)[None, None] / 255,
        control_image=shown(5)[0],
        strength=0.75,
        height=HEIGHT,
        width=WIDTH,
        controlnet_conditioning_scale=1.0,
        generator=torch.Generator().manual_seed(SEED),
    )
    mask = Mask(image=white, blur_x=0, blur_y=0)
    ours = latents_of(bench, painting(mask=mask, controls=(control(files[0]),)))
    assert_close(ours, theirs, latents_of(bench, painting(mask=mask)))


def test_sdxl_equals_the_pipeline(tmp_path: Path) -> None:
    parts = tiny_sdxl.base()
    with torch.no_grad():
        # So that latents are of the size that real ones have, and differences too.
        parts["unet"].conv_out.weight.div_(30)
    net = control_bench.network(parts["unet"], 3)
    pipeline = StableDiffusionXLControlNetPipeline(
        **parts,
        tokenizer=CLIPTokenizer.from_pretrained(TOKENIZER_DIR),
        tokenizer_2=CLIPTokenizer.from_pretrained(TOKENIZER_DIR, pad_token="!"),
        scheduler=euler(),
        controlnet=net,
        add_watermarker=False,
    )
    theirs = by_diffusers(
        pipeline,
        image=shown(5)[0],
        latents=noise(),
        controlnet_conditioning_scale=0.8,
        control_guidance_end=0.75,
    )
    path = control_bench.file(net, tmp_path / "xl.safetensors")
    with running(tiny_sdxl.single_file(parts, tmp_path / "sdxl.safetensors")) as bench:
        ours = latents_of(bench, txt2img(controls=(control(path, weight=0.8, end=0.75),)))
        assert_close(ours, theirs, latents_of(bench, txt2img()))
