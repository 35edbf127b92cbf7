"""SDXL's refiner: how it is read, in both layouts and at full size, what its text is, what it is told."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_sdxl
import torch
from diffusers import AutoencoderKL, StableDiffusionXLImg2ImgPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from sd_runtime import device
from sd_runtime.adapters.embedding import Embeddings
from sd_runtime.errors import CheckpointError, CheckpointUnavailable
from sd_runtime.models import checkpoint, parts
from sd_runtime.models.digests import DigestCache
from sd_runtime.models.library import Library
from sd_runtime.models.network import Model
from sd_runtime.prompt import encoding
from sd_runtime.prompt.settings import TextSettings

CPU = device.choose("cpu")
EPSILON = {"prediction_type": "epsilon", "beta_schedule": "scaled_linear"}
PROMPT, NEGATIVE = "a large red circle on a white background", "ugly, blue"
Networks = dict[str, Any]
WriteFolder = Callable[..., Path]


def load(path: Path) -> Model:
    return checkpoint.load(path, CPU, DigestCache())


def same(ours: Any, theirs: Any) -> bool:
    mine, other = ours.state_dict(), theirs.state_dict()
    return mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)


@pytest.fixture(scope="module")
def refiner_file(refiner: Networks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sdxl.single_file(refiner, tmp_path_factory.mktemp("refiner") / "refiner.safetensors")


@pytest.fixture(scope="module")
def model(refiner_file: Path) -> Model:
    return load(refiner_file)


@pytest.fixture(scope="module")
def pipeline(refiner: Networks) -> Any:
    return StableDiffusionXLImg2ImgPipeline(
        **refiner,
        text_encoder=None,
        tokenizer=None,
        tokenizer_2=CLIPTokenizer.from_pretrained(checkpoint.TOKENIZER_DIR, pad_token="!"),
        scheduler=None,
        requires_aesthetics_score=True,
        add_watermarker=False,
    )


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def encoded(model: Model, text: str, *, negative: bool = False, **settings: Any) -> encoding.Conditioning:
    words = Embeddings(Library([]))
    return encoding.encode(model, text, TextSettings(**settings), words, negative=negative)


def test_a_single_file_is_loaded_with_its_own_weights(model: Model, refiner: Networks) -> None:
    assert (model.loaded.family, model.prediction) == ("SDXLRefiner", "epsilon")
    assert same(model.unet, refiner["unet"]) and same(model.vae, refiner["vae"])
    assert same(model.text.network, refiner["text_encoder_2"])  # type: ignore[attr-defined]
    assert (model.latent_scale, model.loaded.text_widths) == (0.13025, (128,))


def test_a_folder_without_a_first_text_encoder_is_loaded(
    refiner: Networks, write_folder: WriteFolder
) -> None:
    folder = write_folder(refiner, EPSILON)
    index = {"text_encoder": [None, None], "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    model = load(folder)
    assert model.loaded.family == "SDXLRefiner"
    assert same(model.unet, refiner["unet"]) and same(model.vae, refiner["vae"])
    assert same(model.text.network, refiner["text_encoder_2"])  # type: ignore[attr-defined]


def test_a_folder_of_sdxl_that_lacks_its_first_text_encoder_is_no_refiner(
    refiner: Networks, write_folder: WriteFolder
) -> None:
    folder = write_folder(refiner, EPSILON)
    index = {"text_encoder": ["transformers", "CLIPTextModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(
        CheckpointUnavailable, match=r"text_encoder is missing, which model_index\.json names"
    ):
        load(folder)


def test_a_network_that_takes_other_numbers_beside_the_time_is_refused(
    refiner: Networks, tmp_path: Path
) -> None:
    weights = dict(refiner["unet"].state_dict())
    weights["add_embedding.linear_1.weight"] = weights["add_embedding.linear_1.weight"].repeat(1, 2)
    wrong = {"unet": Weights(weights), "vae": refiner["vae"], "text_encoder_2": refiner["text_encoder_2"]}
    path = tiny_sdxl.single_file(wrong, tmp_path / "wrong.safetensors")
    with pytest.raises(CheckpointError, match=r"takes 2944 numbers beside the time.* give 1472"):
        load(path)


class Weights:
    """A network that is nothing but its weights."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self._weights = weights

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self._weights


@pytest.mark.parametrize(("text", "negative"), [(PROMPT, False), (NEGATIVE, True)])
def test_a_text_is_what_the_img2img_pipeline_makes_of_it(
    model: Model, pipeline: Any, text: str, negative: bool
) -> None:
    prompt, negative_prompt, pooled, negative_pooled = pipeline.encode_prompt(
        PROMPT, device=torch.device("cpu"), negative_prompt=NEGATIVE
    )
    ours = encoded(model, text, negative=negative)
    assert torch.allclose(ours.context, negative_prompt if negative else prompt, atol=1e-5)
    assert ours.pooled is not None
    assert torch.allclose(ours.pooled, negative_pooled if negative else pooled, atol=1e-5)


def test_an_empty_negative_prompt_is_all_zeros(model: Model) -> None:
    ours = encoded(model, "", negative=True)
    assert ours.pooled is not None
    assert not ours.context.any() and not ours.pooled.any()


@pytest.mark.parametrize("clip_skip", [1, 2, 12])
def test_clip_skip_changes_nothing(model: Model, clip_skip: int) -> None:
    plain = encoded(model, PROMPT).context
    assert torch.equal(encoded(model, PROMPT, clip_skip=clip_skip).context, plain)


def test_a_score_goes_with_each_text_and_of_other_families_with_none(
    model: Model, sdxl: Networks, tmp_path: Path
) -> None:
    assert (encoded(model, "a").score, encoded(model, "a", negative=True).score) == (6.0, 2.5)
    liked = {"score": 7.0, "negative_score": 1.0}
    assert encoded(model, "a", **liked).score == 7.0
    assert encoded(model, "a", negative=True, **liked).score == 1.0
    base = load(tiny_sdxl.single_file(sdxl, tmp_path / "base.safetensors"))
    assert encoded(base, "a").score is None


def test_one_call_is_told_each_rows_score_as_the_img2img_pipeline_tells_it(
    model: Model, pipeline: Any, refiner: Networks
) -> None:
    size = (64, 128)
    told = pipeline._get_add_time_ids(
        size, (0, 0), size, 6.0, 2.5, size, (0, 0), size, torch.float32, tiny_sdxl.POOLED
    )
    ids = torch.cat([told[1], told[0]])
    generator = torch.Generator().manual_seed(3)
    x, context = torch.randn(2, 4, 8, 16, generator=generator), torch.randn(2, 77, 128, generator=generator)
    pooled, times = torch.randn(2, tiny_sdxl.POOLED, generator=generator), torch.tensor([300.0, 20.5])
    expected = refiner["unet"](
        x, times, context, added_cond_kwargs={"text_embeds": pooled, "time_ids": ids}
    ).sample
    answer = model.predict(x, times, context, pooled, scores=[2.5, 6.0])
    assert (answer - expected).abs().max() < 1e-3
    alike = model.predict(x, times, context, pooled, scores=[6.0, 6.0])
    assert (alike[0] - expected[0]).abs().max() > 0.1
    assert (alike[1] - expected[1]).abs().max() < 1e-3


#: The configurations that are published with the refiner.
UNET = {
    "block_out_channels": (384, 768, 1536, 1536),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
    "transformer_layers_per_block": 4,
    "cross_attention_dim": 1280,
    "attention_head_dim": (6, 12, 24, 24),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2560,
}
TEXT = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "scaling_factor": 0.13025,
}


@pytest.fixture(scope="module")
def full_size() -> dict[str, torch.Tensor]:
    """The names and shapes of sd_xl_refiner_1.0.safetensors, without memory."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**UNET)
        vae = AutoencoderKL(**VAE)
        text = CLIPTextModelWithProjection(CLIPTextConfig(**TEXT))
    prefix = "conditioner.embedders.0.model."
    names = tiny_sdxl.open_clip_names(text.state_dict(), layers=32)
    return {
        **tiny_sdxl.ldm_unet(unet.state_dict()),
        **tiny_sdxl.ldm_keys.vae(vae.state_dict()),
        **{f"{prefix}{name}": value for name, value in names.items()},
    }


@pytest.fixture(scope="module")
def full_size_file(full_size: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that has a header, and for weights a hole."""
    header, at = {}, 0
    for name, value in full_size.items():
        end = at + 2 * value.numel()
        header[name] = {"dtype": "F16", "shape": list(value.shape), "data_offsets": [at, end]}
        at = end
    raw = json.dumps(header).encode()
    path = tmp_path_factory.mktemp("full-size") / "sd_xl_refiner_1.0.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        os.truncate(file.fileno(), 8 + len(raw) + at)
    return path


def test_the_published_configurations_are_read_off_a_full_size_file(full_size_file: Path) -> None:
    blueprint = checkpoint.examine(full_size_file)
    assert blueprint.family == "SDXLRefiner"
    # The outer levels have no attention, so how deep it would be there means nothing.
    wanted = {**UNET, "transformer_layers_per_block": (1, 4, 4, 4)}
    assert {name: blueprint.unet.config[name] for name in wanted} == wanted
    assert {name: blueprint.vae.config[name] for name in VAE} == VAE
    assert (blueprint.texts.width, blueprint.texts.pooled) == (1280, 1280)
    size = full_size_file.stat().st_size
    assert size == pytest.approx(6.08e9, rel=1e-3)  # as the published file is
    assert checkpoint.footprint(blueprint, CPU) == pytest.approx(2 * size, rel=1e-3)


def test_every_tensor_of_a_full_size_file_finds_its_place(
    full_size: dict[str, torch.Tensor], full_size_file: Path
) -> None:
    blueprint, weights = checkpoint.examine(full_size_file), dict(full_size)
    weights = {name: value for name, value in weights.items() if not name.endswith(parts.LOGIT_SCALE)}
    unet = parts.build_unet(blueprint.unet.config, weights)
    parts.build_vae(blueprint.vae.config, weights)
    text: Any = blueprint.texts.build(weights)
    assert weights == {}
    with torch.device("meta"):
        assert shapes(unet) == shapes(UNet2DConditionModel(**UNET))
        assert shapes(text.network) == shapes(CLIPTextModelWithProjection(CLIPTextConfig(**TEXT)))


def shapes(network: Any) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in network.state_dict().items()}
