"""Type, family and format of files, by the tensor names of real ones."""

import pytest

from sd_modelfiles import family, header, kinds, sniff
from sd_modelfiles.family import Family
from sd_modelfiles.kinds import ModelType

UNET = "model.diffusion_model."
ATTENTION = UNET + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
VAE = {"first_stage_model.encoder.conv_in.weight": (4,), "first_stage_model.decoder.conv_in.weight": (4,)}
SD15_TEXT = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
SD21_TEXT = "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight"
SDXL_TEXT = {
    "conditioner.embedders.0.transformer.text_model.embeddings.position_embedding.weight": (4,),
    "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight": (4,),
}
REFINER_TEXT = "conditioner.embedders.0.model.transformer.resblocks.0.attn.in_proj_weight"


@pytest.fixture
def read(write, make):
    return lambda shapes: header.read(write(make(shapes)))


FAMILIES = {
    "SD 1.5": ({ATTENTION: (3, 768), SD15_TEXT: (4, 768)}, Family.SD15),
    "a small model laid out as SD 1.5": ({ATTENTION: (3, 32), SD15_TEXT: (4, 32)}, Family.SD15),
    "SD 1.5 of early tools": (
        {ATTENTION: (3, 768), "cond_stage_model.transformer.embeddings.position_ids": (4,)},
        Family.SD15,
    ),
    "SD 2.1": ({ATTENTION: (3, 1024), SD21_TEXT: (4,)}, Family.SD21),
    "SDXL": ({ATTENTION: (3, 2048), **SDXL_TEXT}, Family.SDXL),
}


@pytest.mark.parametrize(("shapes", "expected"), FAMILIES.values(), ids=FAMILIES.keys())
def test_the_family_is_told_from_the_tensors(read, shapes, expected):
    assert family.detect(read(shapes | VAE)) is expected


UNKNOWN = {
    "no attention": ({UNET + "input_blocks.0.0.weight": (4,), SD15_TEXT: (4,)}, "no cross-attention"),
    "no text encoder": ({ATTENTION: (3, 768)}, "text encoder is none of"),
    "a refiner": ({ATTENTION: (3, 1280), REFINER_TEXT: (4,)}, "refiner"),
    "parts of two": ({ATTENTION: (3, 2048), SD15_TEXT: (4,)}, "SD15's, the U-Net takes a context 2048 wide"),
}


@pytest.mark.parametrize(("shapes", "says"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_an_unknown_family_says_what_was_seen(read, shapes, says):
    with pytest.raises(family.FamilyUnknown, match=says):
        family.detect(read(shapes))


TYPES = {
    "checkpoint": ({ATTENTION: (3, 768)}, ModelType.CHECKPOINT),
    "LoRA of kohya": ({"lora_unet_down_blocks_0.lora_down.weight": (4,)}, ModelType.LORA),
    "LoRA of peft": ({"unet.down_blocks.0.to_q.lora_A.weight": (4,)}, ModelType.LORA),
    "VAE": ({"encoder.conv_in.weight": (4,), "decoder.conv_in.weight": (4,)}, ModelType.VAE),
    "VAE with a checkpoint's names": (VAE, ModelType.VAE),
    "embedding": ({"emb_params": (2, 768)}, ModelType.TEXTUAL_INVERSION),
    "embedding for SDXL": ({"clip_l": (2, 768), "clip_g": (2, 1280)}, ModelType.TEXTUAL_INVERSION),
    "ControlNet": ({"control_model.input_blocks.0.0.weight": (4,)}, ModelType.CONTROLNET),
    "U-Net of diffusers": ({"down_blocks.0.resnets.0.conv1.weight": (4,)}, None),
    "a language model": ({"model.layers.0.mlp.up_proj.weight": (4,)}, None),
    "nothing": ({}, None),
}


@pytest.mark.parametrize(("shapes", "expected"), TYPES.values(), ids=TYPES.keys())
def test_the_type_is_told_from_the_tensors(read, shapes, expected):
    assert kinds.recognise(read(shapes)) is expected


def test_the_missing_parts_of_a_checkpoint_are_named(read):
    assert kinds.missing_parts(read({ATTENTION: (3, 768), SD15_TEXT: (4,), **VAE})) == ()
    (text,) = kinds.missing_parts(read({ATTENTION: (3, 768), **VAE}))
    assert text.startswith("the text encoder")


@pytest.mark.parametrize(
    ("prefix", "says"),
    [
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\n\n  <html lang=en>", "web page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "Git LFS pointer"),
        (b"PK\x03\x04\x00\x00\x08\x08\x00\x00", "pickle"),
        (b"\x80\x02}q\x00(X\x05", "pickle"),
        (b"GGUF\x03\x00\x00\x00\x00", "GGUF"),
        (b'{"error": "Repository not found"}', "JSON document"),
    ],
)
def test_other_formats_are_named(prefix, says):
    assert says in (sniff.other_format(prefix) or "")


def test_a_safetensors_file_is_no_other_format_whatever_its_length_spells(raw):
    # 0x0202020080 bytes would open like a pickle; what counts is the brace behind the length.
    assert sniff.other_format(b"\x80\x02\x00\x00\x00\x00\x00\x00{}") is None
    assert sniff.other_format(raw({})) is None
