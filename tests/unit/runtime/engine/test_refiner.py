"""SDXL's refiner at work: as the last part of an SDXL picture, and by itself, as diffusers' pipelines paint
with the same networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_sdxl
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from engine_bench import difference, picture, running
from safetensors.torch import save_file
from transformers import CLIPTokenizer

from sd_runtime.adapters.uses import AdapterKind, AdapterUse
from sd_runtime.errors import UnsupportedError
from sd_runtime.models.checkpoint import TOKENIZER_DIR
from sd_runtime.prompt.settings import TextSettings
from sd_runtime.tasks.recipe import Refiner
from sd_runtime.tasks.txt2img import Txt2Img

# diffusers 0.42 hands torch tensors to numpy 2 in a way numpy is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PROMPT, NEGATIVE = "a large red circle on a white background", "ugly, blue"
SEED, GUIDANCE = 11, 4.0
# Whole timesteps, where every way of interpolating agrees: 999, 666, 333, 0.
STEPS = 4
Networks = dict[str, Any]
Array = np.ndarray[Any, Any]


def of_engine(*, negative: str = NEGATIVE, **more: Any) -> Txt2Img:
    return picture(
        prompt=PROMPT,
        negative_prompt=negative,
        width=128,
        height=64,
        steps=STEPS,
        cfg_scale=GUIDANCE,
        sampler="Euler",
        scheduler="uniform",
        seed=SEED,
        **more,
    )


@pytest.fixture(scope="module")
def base() -> Networks:
    return tiny_sdxl.base()


@pytest.fixture(scope="module")
def refiner() -> Networks:
    return tiny_sdxl.refiner()


@pytest.fixture(scope="module")
def base_file(base: Networks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sdxl.single_file(base, tmp_path_factory.mktemp("base") / "base.safetensors")


@pytest.fixture(scope="module")
def refiner_file(refiner: Networks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sdxl.single_file(refiner, tmp_path_factory.mktemp("refiner") / "refiner.safetensors")


def surroundings() -> dict[str, Any]:
    return {
        "tokenizer_2": CLIPTokenizer.from_pretrained(TOKENIZER_DIR, pad_token="!"),
        "scheduler": EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="linspace",
            steps_offset=1,
        ),
        "add_watermarker": False,
    }


def refining_pipeline(refiner: Networks) -> Any:
    pipeline = StableDiffusionXLImg2ImgPipeline(
        **refiner, **surroundings(), text_encoder=None, tokenizer=None, requires_aesthetics_score=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def refined_by_diffusers(refiner: Networks, latents: torch.Tensor, **more: Any) -> Array:
    settings = {
        "negative_prompt": NEGATIVE,
        "num_inference_steps": STEPS,
        "guidance_scale": GUIDANCE,
        "output_type": "np",
        **more,
    }
    made = refining_pipeline(refiner)(PROMPT, image=latents, **settings).images[0]
    result: Array = (made * 255).round().astype(int)
    return result


def noise() -> torch.Tensor:
    return torch.randn(1, 4, 8, 16, generator=torch.Generator().manual_seed(SEED))


def assert_equal_pictures(ours: Array, theirs: Array) -> None:
    assert ours.std() > 10
    assert np.abs(ours.astype(int) - theirs).max() <= 2


def drawn_by_refiner_alone(refiner: Networks, **more: Any) -> Array:
    """From noise over nothing, which is what txt2img begins with."""
    generator = torch.Generator().manual_seed(SEED)
    return refined_by_diffusers(refiner, torch.zeros(1, 4, 8, 16), strength=1.0, generator=generator, **more)


def test_by_itself_it_paints_what_the_img2img_pipeline_paints(refiner: Networks, refiner_file: Path) -> None:
    with running(refiner_file) as bench:
        assert_equal_pictures(bench.alone(of_engine()), drawn_by_refiner_alone(refiner))


def test_it_is_told_the_scores_that_are_asked_for(refiner: Networks, refiner_file: Path) -> None:
    task = of_engine()
    text = TextSettings(score=9.0, negative_score=1.0)
    liked = replace(task, guided=replace(task.guided, text=text))
    with running(refiner_file) as bench:
        ours = bench.alone(liked)
    assert_equal_pictures(
        ours, drawn_by_refiner_alone(refiner, aesthetic_score=9.0, negative_aesthetic_score=1.0)
    )
    assert np.abs(ours.astype(int) - drawn_by_refiner_alone(refiner)).max() > 2


def test_after_sdxl_it_paints_what_the_pipelines_paint_one_after_the_other(
    base: Networks, base_file: Path, refiner: Networks, refiner_file: Path
) -> None:
    first = StableDiffusionXLPipeline(
        **base, **surroundings(), tokenizer=CLIPTokenizer.from_pretrained(TOKENIZER_DIR)
    )
    first.set_progress_bar_config(disable=True)
    begun = first(
        PROMPT,
        negative_prompt=NEGATIVE,
        width=128,
        height=64,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        latents=noise(),
        denoising_end=0.5,
        output_type="latent",
    ).images
    theirs = refined_by_diffusers(refiner, begun, denoising_start=0.5)
    with running(base_file) as bench:
        refined = bench.alone(of_engine(refiner=Refiner(checkpoint=refiner_file, switch_at=0.5)))
        plain = bench.alone(of_engine())
    assert_equal_pictures(refined, theirs)
    assert difference(refined, plain) > 20


def test_amid_strangers_with_other_scores_a_picture_is_as_if_alone(refiner_file: Path) -> None:
    tasks = [of_engine()]
    for score in (0.0, 3.0, 10.0):
        text = TextSettings(score=score, negative_score=score / 2)
        tasks.append(replace(tasks[0], guided=replace(tasks[0].guided, text=text)))
    with running(refiner_file) as bench:
        alone = [bench.alone(task) for task in tasks]
        together = [ticket.future.result(60).pixels for ticket in bench.together(tasks)]
        assert max(rows for rows, _ in bench.observer.calls) == 2 * len(tasks)
    for one, other in zip(alone, together, strict=True):
        assert difference(one, other) <= 2
    assert difference(alone[0], alone[1]) > 2


@pytest.fixture
def lora(base: Networks, tmp_path: Path) -> AdapterUse:
    """One for SDXL: of a cross-attention, which reads a wider context than the refiner's, and of a text
    encoder that the refiner has not."""
    generator = torch.Generator().manual_seed(5)
    place = "down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    weights = {
        f"lora_unet_{place}.lora_down.weight": torch.randn(4, 192, generator=generator),
        f"lora_unet_{place}.lora_up.weight": torch.randn(128, 4, generator=generator),
        "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.randn(
            4, 64, generator=generator
        ),
        "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.randn(
            128, 4, generator=generator
        ),
    }
    path = tmp_path / "gilded.safetensors"
    save_file(weights, path)
    return AdapterUse(kind=AdapterKind.LORA, path=path)


def test_it_goes_on_without_the_loras_that_sdxl_began_with(
    base_file: Path, refiner_file: Path, lora: AdapterUse
) -> None:
    def refined(switch_at: float, *adapters: AdapterUse) -> Txt2Img:
        return of_engine(refiner=Refiner(checkpoint=refiner_file, switch_at=switch_at), adapters=adapters)

    with running(base_file) as bench:
        assert difference(bench.alone(refined(0.5, lora)), bench.alone(refined(0.5))) > 2
        assert difference(bench.alone(refined(0.0, lora)), bench.alone(refined(0.0))) == 0


def test_as_the_checkpoint_of_a_prompt_with_an_sdxl_lora_it_refuses_that_by_name(
    refiner_file: Path, lora: AdapterUse
) -> None:
    with running(refiner_file) as bench:
        error = bench.engine.submit(of_engine(adapters=(lora,))).future.exception(60)
    assert isinstance(error, UnsupportedError)
    assert "<lora:gilded>" in str(error)
    assert "it is made for SDXL, the checkpoint is of SDXLRefiner" in str(error)


def test_it_refines_no_picture_of_a_family_with_other_latents(
    checkpoint_file: Path, refiner_file: Path
) -> None:
    task = picture(refiner=Refiner(checkpoint=refiner_file, switch_at=0.5))
    with running(checkpoint_file) as bench:
        error = bench.engine.submit(task).future.exception(60)
    assert isinstance(error, UnsupportedError)
    assert "refiner_checkpoint: 'refiner (SDXLRefiner)'" in str(error)
