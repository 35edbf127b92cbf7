"""Type, family and rank of files, by the tensor names and shapes of real ones."""

import pytest
from tensor_names import (
    ATTENTION,
    CHECKPOINT,
    DIFFUSERS,
    KOHYA,
    KOHYA_XL,
    LDM_ATTENTION,
    REFINER_TEXT,
    SD15_TEXT,
    SD21_TEXT,
    SDXL_TEXT,
    TEXT,
    UNET,
    VAE,
    hypernetwork,
    low_rank,
)

from sd_modelfiles import describe, family, kinds
from sd_modelfiles.family import Family
from sd_modelfiles.kinds import ModelType

SD15, SD21, SDXL, SDXL_REFINER = Family


CHECKPOINTS = {
    "SD 1.5": ({ATTENTION: (3, 768), SD15_TEXT: (4, 768)}, SD15),
    "a small model laid out as SD 1.5": ({ATTENTION: (3, 32), SD15_TEXT: (4, 32)}, SD15),
    "SD 1.5 of early tools": (
        {ATTENTION: (3, 768), "cond_stage_model.transformer.embeddings.position_ids": (4,)},
        SD15,
    ),
    "SD 2.1": ({ATTENTION: (3, 1024), SD21_TEXT: (4,)}, SD21),
    "SD 2.1 with the text encoder of transformers": ({ATTENTION: (3, 1024), SD15_TEXT: (4, 1024)}, SD21),
    "SDXL": ({ATTENTION: (3, 2048), **SDXL_TEXT}, SDXL),
    "SDXL's refiner": ({ATTENTION: (3, 1280), REFINER_TEXT: (4,)}, SDXL_REFINER),
    "a small model laid out as SDXL's refiner": ({ATTENTION: (3, 32), REFINER_TEXT: (4,)}, SDXL_REFINER),
}


@pytest.mark.parametrize(("shapes", "expected"), CHECKPOINTS.values(), ids=CHECKPOINTS.keys())
def test_the_family_of_a_checkpoint_is_told_from_its_parts(read, shapes, expected):
    assert family.detect(read(shapes | VAE)) is expected
    found = describe.judge(read(shapes | VAE), wanted_type=ModelType.CHECKPOINT, wanted_family=expected)
    assert (found.type, found.family) == (ModelType.CHECKPOINT, expected)


UNKNOWN = {
    "no attention": ({UNET + "input_blocks.0.0.weight": (4,), SD15_TEXT: (4,)}, "no cross-attention"),
    "no text encoder": ({ATTENTION: (3, 768)}, "text encoder is none of"),
    "an SDXL without its first text encoder": (
        {ATTENTION: (3, 2048), REFINER_TEXT: (4,)},
        "laid out as SDXLRefiner's, the U-Net takes a context 2048 wide as SDXL's",
    ),
    "parts of two": ({ATTENTION: (3, 2048), SD15_TEXT: (4,)}, "SD15's, the U-Net takes a context 2048 wide"),
    "Flux": ({UNET + "double_blocks.0.img_attn.qkv.weight": (4, 4)}, "a transformer model"),
}


@pytest.mark.parametrize(("shapes", "says"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_an_unknown_family_says_what_was_seen(read, shapes, says):
    with pytest.raises(family.FamilyUnknown, match=says):
        family.detect(read(shapes))


LORAS = {
    "kohya, SD 1.5": (low_rank(KOHYA, 16, 768), "LoRA", 16, SD15),
    "kohya, SD 2.1": (low_rank(KOHYA, 4, 1024), "LoRA", 4, SD21),
    "kohya, SDXL": (low_rank(KOHYA_XL, 8, 2048), "LoRA", 8, SDXL),
    "kohya, SDXL without cross-attention": (
        low_rank("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q", 8, 640),
        "LoRA",
        8,
        SDXL,
    ),
    "SDXL by the depth of diffusers' names": (
        low_rank("lora_unet_down_blocks_2_attentions_0_transformer_blocks_9_attn1_to_q", 8, 1280),
        "LoRA",
        8,
        SDXL,
    ),
    "the text encoder of SD 1.5 alone": (low_rank(TEXT, 8, 768), "LoRA", 8, SD15),
    "the text encoder of SD 2.1 alone": (low_rank(TEXT, 8, 1024), "LoRA", 8, SD21),
    "the text encoders of SDXL alone": (low_rank(TEXT.replace("te_", "te2_", 1), 8, 1280), "LoRA", 8, SDXL),
    "a small model's": (low_rank(KOHYA, 8, 128), "LoRA", 8, None),
    "modules of different ranks": (
        low_rank(KOHYA, 4, 768) | low_rank(KOHYA.replace("to_k", "to_v"), 32, 768),
        "LoRA",
        32,
        SD15,
    ),
    "a convolution": (
        {"lora_unet_down_blocks_0_resnets_0_conv1.lora_down.weight": (8, 320, 3, 3)},
        "LoRA",
        8,
        None,
    ),
    "peft": (
        low_rank(f"{DIFFUSERS}.to_k", 8, 768, "lora_A.weight", "lora_B.weight"),
        "LoRA",
        8,
        SD15,
    ),
    "peft with a name": (
        low_rank(
            f"base_model.model.{DIFFUSERS}.to_k", 8, 768, "lora_A.default.weight", "lora_B.default.weight"
        ),
        "LoRA",
        8,
        SD15,
    ),
    "peft, the second text encoder": (
        {"text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight": (8, 1280)},
        "LoRA",
        8,
        SDXL,
    ),
    "diffusers": (
        low_rank(f"{DIFFUSERS}.to_k", 8, 768, "lora.down.weight", "lora.up.weight"),
        "LoRA",
        8,
        SD15,
    ),
    "older diffusers": (
        {
            "down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_k_lora.down.weight": (4, 768),
            "down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_k_lora.up.weight": (320, 4),
        },
        "LoRA",
        4,
        SD15,
    ),
    "with a checkpoint's names": (low_rank(f"{UNET}{LDM_ATTENTION}", 8, 768), "LoRA", 8, SD15),
    "with a checkpoint's names, SDXL": (
        low_rank(f"{UNET}{LDM_ATTENTION}", 8, 2048, "lora_A.weight", "lora_B.weight"),
        "LoRA",
        8,
        SDXL,
    ),
    "diffusers' linear layer": (
        low_rank(
            "text_encoder.text_model.encoder.layers.0.self_attn.q_proj",
            8,
            768,
            "lora_linear_layer.down.weight",
        ),
        "LoRA",
        8,
        None,
    ),
    "DoRA": (low_rank(KOHYA, 8, 768) | {f"{KOHYA}.dora_scale": (1, 768)}, "DoRA", 8, SD15),
    "LoHa": (
        {f"{KOHYA}.hada_w1_a": (320, 8), f"{KOHYA}.hada_w1_b": (8, 768), f"{KOHYA}.hada_w2_a": (320, 8)},
        "LoHa",
        8,
        SD15,
    ),
    "LoKr": (
        {f"{KOHYA}.lokr_w1": (8, 8), f"{KOHYA}.lokr_w2_a": (40, 4), f"{KOHYA}.lokr_w2_b": (4, 96)},
        "LoKr",
        4,
        SD15,
    ),
    "LoKr of whole factors": (
        {f"{KOHYA_XL}.lokr_w1": (8, 16), f"{KOHYA_XL}.lokr_w2": (80, 128)},
        "LoKr",
        None,
        SDXL,
    ),
    "GLoRA": ({f"{KOHYA}.a1.weight": (768, 4), f"{KOHYA}.b1.weight": (320, 4)}, "GLoRA", 4, SD15),
    "IA3": ({f"{KOHYA}.weight": (320, 1), f"{KOHYA}.on_input": ()}, "IA3", None, None),
    "OFT": ({f"{KOHYA}.oft_blocks": (4, 80, 80)}, "OFT", None, None),
    "OFT of kohya": ({"oft_unet_input_blocks_4_1_proj_in.oft_blocks": (4, 80, 80)}, "OFT", None, SDXL),
    "whole differences": ({f"{KOHYA}.diff": (320, 768), f"{KOHYA}.diff_b": (320,)}, "full", None, SD15),
}


@pytest.mark.parametrize(("shapes", "variant", "rank", "expected"), LORAS.values(), ids=LORAS.keys())
def test_a_lora_shows_its_kind_its_rank_and_its_family(read, shapes, variant, rank, expected):
    found = describe.describe(read(shapes))
    assert found == describe.Description(ModelType.LORA, expected, rank, variant)


CONTROLS = {
    "LDM, SD 1.5": ({f"control_model.{LDM_ATTENTION}.weight": (3, 768)}, "ControlNet", SD15),
    "LDM, SD 2.1": ({f"control_model.{LDM_ATTENTION}.weight": (3, 1024)}, "ControlNet", SD21),
    "one with the checkpoint it was made from": (
        {**CHECKPOINT, f"control_model.{LDM_ATTENTION}.weight": (3, 768)},
        "ControlNet",
        SD15,
    ),
    "LDM without a prefix": (
        {f"{LDM_ATTENTION}.weight": (3, 768), "input_hint_block.0.weight": (3, 3)},
        "ControlNet",
        SD15,
    ),
    "a small one": ({f"control_model.{LDM_ATTENTION}.weight": (3, 32)}, "ControlNet", None),
    "diffusers, SDXL": (
        {
            "controlnet_cond_embedding.conv_in.weight": (4, 3, 3, 3),
            "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight": (3, 2048),
        },
        "ControlNet",
        SDXL,
    ),
    "diffusers, SDXL without attention": (
        {"controlnet_cond_embedding.conv_in.weight": (4, 3, 3, 3), "add_embedding.linear_1.weight": (4, 4)},
        "ControlNet",
        SDXL,
    ),
    "Control-LoRA": (
        {
            "lora_controlnet": (1,),
            "input_hint_block.0.weight": (4, 3, 3, 3),
            f"{LDM_ATTENTION}.down": (32, 2048),
            f"{LDM_ATTENTION}.up": (64, 32),
        },
        "Control-LoRA",
        SDXL,
    ),
    "LLLite": (
        {"lllite_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.down.0.weight": (4, 4)},
        "ControlNet-LLLite",
        SDXL,
    ),
    "T2I-Adapter": (
        {"body.0.block1.weight": (4, 4, 3, 3), "conv_in.weight": (4, 192, 3, 3)},
        "T2I-Adapter",
        None,
    ),
    "T2I-Adapter of diffusers, SDXL": (
        {"adapter.body.0.resnets.0.block1.weight": (4, 4, 3, 3), "adapter.conv_in.weight": (4, 768, 3, 3)},
        "T2I-Adapter",
        SDXL,
    ),
    "IP-Adapter": (
        {"image_proj.proj.weight": (4, 4), "ip_adapter.1.to_k_ip.weight": (320, 768)},
        "IP-Adapter",
        SD15,
    ),
}


@pytest.mark.parametrize(("shapes", "variant", "expected"), CONTROLS.values(), ids=CONTROLS.keys())
def test_a_controlnet_shows_its_kind_and_its_family(read, shapes, variant, expected):
    found = describe.describe(read(shapes))
    assert (found.type, found.variant, found.family) == (ModelType.CONTROLNET, variant, expected)
    assert found.rank == (32 if variant == "Control-LoRA" else None)


OTHERS = {
    "VAE of LDM or diffusers": (
        {"encoder.conv_in.weight": (8, 3, 3, 3), "decoder.conv_in.weight": (8, 4, 3, 3)},
        ModelType.VAE,
        None,
    ),
    "VAE with a checkpoint's names": (VAE, ModelType.VAE, None),
    "embedding, SD 1.5": ({"emb_params": (2, 768)}, ModelType.TEXTUAL_INVERSION, SD15),
    "embedding, SD 2.1": ({"emb_params": (2, 1024)}, ModelType.TEXTUAL_INVERSION, SD21),
    "embedding of a small model": ({"emb_params": (2, 32)}, ModelType.TEXTUAL_INVERSION, None),
    "embedding, SDXL": ({"clip_l": (2, 768), "clip_g": (2, 1280)}, ModelType.TEXTUAL_INVERSION, SDXL),
    "embedding of diffusers": ({"<cat-toy>": (768,)}, ModelType.TEXTUAL_INVERSION, SD15),
    "hypernetwork, SD 1.5": (hypernetwork(320, 640, 768, 1280), ModelType.HYPERNETWORK, SD15),
    "hypernetwork, SD 2.1": (hypernetwork(1024), ModelType.HYPERNETWORK, SD21),
    "hypernetwork for either": (hypernetwork(768, 1024), ModelType.HYPERNETWORK, None),
    "hypernetwork of the first kind": (
        {"768.0.linear1.weight": (2, 2), "768.1.linear1.bias": (2,)},
        ModelType.HYPERNETWORK,
        SD15,
    ),
    "U-Net of diffusers": ({"down_blocks.0.resnets.0.conv1.weight": (4,)}, None, None),
    "a language model": ({"model.layers.0.mlp.up_proj.weight": (4,)}, None, None),
    "an annotator with an encoder and a decoder": (
        {"encoder.original_model.conv_stem.weight": (4,), "decoder.conv2.weight": (4,)},
        None,
        None,
    ),
    "a network of convolutions": (
        {"body.0.weight": (4, 3, 3, 3), "body.1.weight": (4,), "head.0.weight": (4,)},
        None,
        None,
    ),
    "a single tensor that is no word": ({"weight": (768, 768, 3)}, None, None),
    "nothing": ({}, None, None),
}


@pytest.mark.parametrize(("shapes", "expected", "of"), OTHERS.values(), ids=OTHERS.keys())
def test_the_other_types_are_told_from_their_tensors(read, shapes, expected, of):
    found = describe.describe(read(shapes))
    assert (found.type, found.family, found.rank) == (expected, of, None)
    assert kinds.recognise(read(shapes)) is expected


UPSCALERS = {
    "ESRGAN of 2018": ("ESRGAN", ["model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"]),
    "BSRGAN": ("ESRGAN", ["conv_first.weight", "RRDB_trunk.0.RDB1.conv1.weight", "conv_last.weight"]),
    "Real-ESRGAN": ("ESRGAN", ["conv_first.weight", "body.0.rdb1.conv1.weight", "conv_last.weight"]),
    "wrapped for many GPUs": (
        "ESRGAN",
        ["module.model.0.weight", "module.model.1.sub.0.RDB1.conv1.0.weight"],
    ),
    "SwinIR": (
        "SwinIR",
        [
            "layers.0.residual_group.blocks.0.norm1.weight",
            "layers.0.residual_group.blocks.0.mlp.fc1.bias",
            "conv_first.weight",
        ],
    ),
    "HAT": (
        "HAT",
        [
            "conv_first.weight",
            "layers.0.residual_group.blocks.0.norm1.weight",
            "layers.0.residual_group.blocks.0.mlp.fc1.bias",
            "layers.0.residual_group.overlap_attn.qkv.weight",
        ],
    ),
    "DAT": ("DAT", ["conv_first.weight", "before_RG.1.weight", "layers.0.blocks.0.norm1.weight"]),
    "SPAN": ("SPAN", ["conv_1.sk.weight", "block_1.c1_r.sk.weight"]),
    "Real-CUGAN": ("Real-CUGAN", ["unet1.conv1.conv.0.weight", "unet2.conv_bottom.weight"]),
    "ScuNET": ("ScuNET", ["m_head.0.weight", "m_tail.0.weight"]),
}


@pytest.mark.parametrize(("variant", "names"), UPSCALERS.values(), ids=UPSCALERS.keys())
def test_upscalers_are_told_by_their_architecture(read, variant, names):
    found = describe.describe(read(dict.fromkeys(names, (4,))))
    assert (found.type, found.variant) == (ModelType.UPSCALER, variant)


def test_the_small_upscalers_are_told_by_having_nothing_but_convolutions_and_slopes(read):
    shapes = {"body.0.weight": (64, 3, 3, 3), "body.0.bias": (64,), "body.1.weight": (64,)}
    assert describe.describe(read(shapes)).variant == "Compact"
    assert describe.describe(read({**shapes, "body.1.bias": (64,)})).type is None


@pytest.mark.parametrize(
    ("channels", "variant"), [(4, None), (5, "depth"), (8, "instruct-pix2pix"), (9, "inpainting")]
)
def test_what_a_checkpoint_takes_beside_the_picture_is_told(read, channels, variant):
    shapes = {**CHECKPOINT, f"{UNET}input_blocks.0.0.weight": (4, channels, 3, 3)}
    assert describe.describe(read(shapes)).variant == variant


HINT = {"ss_base_model_version": "sdxl_base_v1-0"}


def test_what_the_trainer_wrote_fills_a_gap_and_is_never_above_the_tensors(read):
    assert describe.describe(read(low_rank(KOHYA, 8, 128), HINT)).family is SDXL
    assert describe.describe(read(low_rank(KOHYA, 8, 768), HINT)).family is SD15
    for text, expected in (("sd_v1", SD15), ("sd_v2_v", SD21), ("flux1", None)):
        assert (
            describe.describe(read(low_rank(KOHYA, 8, 128), {"ss_base_model_version": text})).family
            is expected
        )
    architecture = {"modelspec.architecture": "stable-diffusion-v1/lora"}
    assert describe.describe(read(low_rank(KOHYA, 8, 128), architecture)).family is SD15
    architecture = {"modelspec.architecture": "stable-diffusion-xl-v1-refiner/lora"}
    assert describe.describe(read(low_rank(KOHYA, 8, 128), architecture)).family is SDXL_REFINER


def test_what_the_trainer_wrote_contradicts_nobody(read):
    found = describe.judge(
        read(low_rank(KOHYA, 8, 128), HINT), wanted_type=ModelType.LORA, wanted_family="SD15"
    )
    assert found.family is None


def test_the_missing_parts_of_a_checkpoint_are_named(read):
    assert kinds.missing_parts(read(CHECKPOINT)) == ()
    (text,) = kinds.missing_parts(read({ATTENTION: (3, 768), **VAE}))
    assert text.startswith("the text encoder")
