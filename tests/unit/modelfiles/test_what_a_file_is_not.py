"""Files of another type, family or format than was said are refused, with what they are."""

import pytest
from tensor_names import (
    ATTENTION,
    CHECKPOINT,
    KOHYA,
    KOHYA_XL,
    REFINER_TEXT,
    UNET,
    VAE,
    hypernetwork,
    low_rank,
)

from sd_modelfiles import describe, sniff
from sd_modelfiles.describe import FamilyContradicted, TypeContradicted
from sd_modelfiles.family import Family
from sd_modelfiles.kinds import ModelType

WRONG_TYPES = {
    "a checkpoint for a LoRA": (CHECKPOINT, ModelType.LORA, "a Checkpoint"),
    "a LoRA for a checkpoint": (low_rank(KOHYA, 8, 768), ModelType.CHECKPOINT, "a LoRA"),
    "a ControlNet for an upscaler": (
        {"control_model.input_blocks.0.0.weight": (4,)},
        ModelType.UPSCALER,
        "a ControlNet",
    ),
    "an embedding for an annotator": (
        {"emb_params": (2, 768)},
        ModelType.ANNOTATOR,
        "a TextualInversion",
    ),
    "an upscaler for an annotator": (
        dict.fromkeys(["m_head.0.weight", "m_tail.0.weight"], (4,)),
        ModelType.ANNOTATOR,
        "an Upscaler (ScuNET)",
    ),
    "anything for a VAE": ({"x.weight": (4,)}, ModelType.VAE, "first tensor is 'x.weight'"),
    "anything for a LoRA": ({"x.weight": (4,)}, ModelType.LORA, "no type of model file that is known"),
    "a folder's U-Net for a checkpoint": (
        {"down_blocks.0.resnets.0.conv1.weight": (4,)},
        ModelType.CHECKPOINT,
        "a diffusion network alone",
    ),
    "a text model": ({"text_model.embeddings.x": (4,)}, ModelType.TEXTUAL_INVERSION, "a text model"),
    "an empty file": ({}, ModelType.HYPERNETWORK, "empty"),
    "a checkpoint without text encoder": (
        {ATTENTION: (3, 768), **VAE},
        ModelType.CHECKPOINT,
        "the checkpoint lacks the text encoder",
    ),
}


@pytest.mark.parametrize(("shapes", "wanted", "says"), WRONG_TYPES.values(), ids=WRONG_TYPES.keys())
def test_a_file_of_another_type_is_refused_with_what_it_is(read, shapes, wanted, says):
    with pytest.raises(TypeContradicted) as caught:
        describe.judge(read(shapes), wanted_type=wanted, wanted_family="Auto")
    assert says in str(caught.value)
    assert "give a" in str(caught.value)


WRONG_FAMILIES = {
    "checkpoint": (CHECKPOINT, ModelType.CHECKPOINT, "SDXL", "is of SD15"),
    "checkpoint of no known family": (
        {ATTENTION: (3, 768), **VAE, "cond_stage_model.x": (4,)},
        ModelType.CHECKPOINT,
        "Auto",
        "cannot be told",
    ),
    "LoRA": (low_rank(KOHYA, 8, 768), ModelType.LORA, "SDXL", "is of SD15"),
    "LoRA for Flux": (
        low_rank("lora_unet_double_blocks_0_img_attn_qkv", 8, 64),
        ModelType.LORA,
        "Auto",
        "transformer model",
    ),
    "LoRA for Flux with a checkpoint's names": (
        low_rank(f"{UNET}double_blocks.0.img_attn.qkv", 8, 64),
        ModelType.LORA,
        "Auto",
        "transformer model",
    ),
    "LoRA for Flux of diffusers": (
        {"transformer.transformer_blocks.0.attn.to_q.lora_A.weight": (8, 64)},
        ModelType.LORA,
        "SD15",
        "transformer model",
    ),
    "refiner": (
        {ATTENTION: (3, 1280), REFINER_TEXT: (4,), **VAE},
        ModelType.CHECKPOINT,
        "SDXL",
        "is of SDXLRefiner",
    ),
    "LoRA for a refiner": (low_rank(KOHYA_XL, 8, 1280), ModelType.LORA, "SDXL", "is of SDXLRefiner"),
    "ControlNet for Flux": (
        {"controlnet_blocks.0.weight": (4,)},
        ModelType.CONTROLNET,
        "SD15",
        "transformer",
    ),
    "VAE of Flux": (
        {"encoder.conv_in.weight": (8, 3, 3, 3), "decoder.conv_in.weight": (8, 16, 3, 3)},
        ModelType.VAE,
        "SD15",
        "16 latent channels",
    ),
    "embedding": ({"emb_params": (1, 1024)}, ModelType.TEXTUAL_INVERSION, "SD15", "is of SD21"),
    "hypernetwork": (hypernetwork(768), ModelType.HYPERNETWORK, "SD21", "is of SD15"),
}


@pytest.mark.parametrize(
    ("shapes", "wanted", "of", "says"), WRONG_FAMILIES.values(), ids=WRONG_FAMILIES.keys()
)
def test_a_file_of_another_family_is_refused_with_its_own(read, shapes, wanted, of, says):
    with pytest.raises(FamilyContradicted, match=says):
        describe.judge(read(shapes), wanted_type=wanted, wanted_family=of)


@pytest.mark.parametrize("wanted", [ModelType.UPSCALER, ModelType.ANNOTATOR])
def test_a_file_that_looks_like_nothing_is_taken_for_an_upscaler_or_annotator(read, wanted):
    found = describe.judge(read({"x.weight": (4,)}), wanted_type=wanted, wanted_family="SDXL")
    assert found == describe.Description(wanted, None, None, None)


@pytest.mark.parametrize("of", ["Auto", *Family])
def test_a_family_that_no_tensor_shows_contradicts_nothing(read, of):
    for shapes, wanted in (
        (VAE, ModelType.VAE),
        (low_rank(KOHYA, 8, 128), ModelType.LORA),
        (dict.fromkeys(["m_head.0.weight", "m_tail.0.weight"], (4,)), ModelType.UPSCALER),
    ):
        assert describe.judge(read(shapes), wanted_type=wanted, wanted_family=of).family is None


@pytest.mark.parametrize(
    ("prefix", "says"),
    [
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\n\n  <html lang=en>", "web page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "Git LFS pointer"),
        (b"PK\x03\x04\x00\x00\x08\x08\x00\x00", "pickle"),
        (b"\x80\x02}q\x00(X\x05", "pickle"),
        (b"\x80\x05}q\x00(X\x05", "pickle"),
        (b"GGUF\x03\x00\x00\x00\x00", "GGUF"),
        (b'{"error": "Repository not found"}', "JSON document"),
    ],
)
def test_other_formats_are_named(prefix, says):
    assert says in (sniff.other_format(prefix) or "")
    assert sniff.is_pickle(prefix) == (says == "pickle")


def test_a_safetensors_file_is_no_other_format_whatever_its_length_spells(raw):
    # 0x0202020080 bytes would open like a pickle; what counts is the brace behind the length.
    assert sniff.other_format(b"\x80\x02\x00\x00\x00\x00\x00\x00{}") is None
    assert not sniff.is_pickle(b"\x80\x02\x00\x00\x00\x00\x00\x00{}")
    assert sniff.other_format(raw({})) is None
