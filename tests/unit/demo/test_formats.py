"""Exported files have the layouts that others read: their converters give back exactly what was written."""

from __future__ import annotations

import pickletools
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from diffusers.loaders.single_file_utils import (
    convert_controlnet_checkpoint,
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from peft import LoraConfig
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from demo.export import a1111, files, kohya, ldm_keys, ncnn
from demo.train import hypernetwork, latent_scale, lora, networks
from demo.train.vocabulary import Vocabulary


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def tiny_vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=32,
    ).eval()


def tiny_unet(coarsest_attends: bool) -> UNet2DConditionModel:
    down, up = (
        ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D") if coarsest_attends else ("DownBlock2D", "UpBlock2D")
    )
    return UNet2DConditionModel(
        block_out_channels=(32, 64, 64),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", down),
        up_block_types=(up, "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=2,
        cross_attention_dim=64,
        attention_head_dim=8,
    )


def assert_same(left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    assert [key for key in left if not torch.equal(left[key], right[key])] == []


@pytest.mark.parametrize("coarsest_attends", [True, False])
def test_unet_weights_survive_the_round_trip(coarsest_attends: bool) -> None:
    unet = tiny_unet(coarsest_attends)
    assert_same(
        convert_ldm_unet_checkpoint(ldm_keys.unet(unet.state_dict()), dict(unet.config)), unet.state_dict()
    )


def test_vae_weights_survive_the_round_trip() -> None:
    vae = tiny_vae()
    assert_same(
        convert_ldm_vae_checkpoint(ldm_keys.vae(vae.state_dict()), dict(vae.config)), vae.state_dict()
    )


def test_text_weights_survive_the_round_trip_with_and_without_their_prefix() -> None:
    config = CLIPTextConfig(vocab_size=64, hidden_size=64, intermediate_size=256, num_hidden_layers=1)
    weights = CLIPTextModel(config).state_dict()
    bare = {key.removeprefix("text_model."): value for key, value in weights.items()}
    prefixed = {f"text_model.{key}": value for key, value in bare.items()}
    for given in (bare, prefixed):
        assert_same(convert_ldm_clip_checkpoint(ldm_keys.text(given)), prefixed)


@pytest.mark.parametrize("key", ["down_blocks.0.motion.0.weight", "down_blocks.0.resnets.0.norm9.weight"])
def test_an_unknown_weight_is_refused_by_name(key: str) -> None:
    with pytest.raises(ValueError, match=key.rpartition(".")[0].rpartition(".")[2]):
        ldm_keys.unet({key: torch.zeros(1)})


def test_folding_the_latent_scale_changes_latents_as_asked_and_no_picture() -> None:
    vae = tiny_vae()
    pixels = torch.rand(2, 3, 32, 32)
    mean, deviation = torch.tensor([0.1, -0.2, 0.3, 1.0]), torch.tensor([0.5, 1.0, 2.0, 3.0])
    with torch.no_grad():
        before = vae.encode(pixels).latent_dist
        picture = vae.decode(before.mean).sample
        latent_scale.fold(vae, mean, deviation)
        after = vae.encode(pixels).latent_dist
        again = vae.decode(after.mean).sample
    column = (slice(None), None, None)
    scaled = (before.mean - mean[column]) / deviation[column] / networks.SCALING_FACTOR
    torch.testing.assert_close(after.mean, scaled, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after.std, before.std / deviation[column] / networks.SCALING_FACTOR)
    torch.testing.assert_close(again, picture, atol=1e-4, rtol=1e-4)


def test_controlnet_weights_survive_the_round_trip() -> None:
    network = ControlNetModel.from_unet(tiny_unet(False))
    weights = ldm_keys.controlnet(network.state_dict())
    assert all(key.startswith("control_model.") for key in weights)
    assert_same(convert_controlnet_checkpoint(weights, dict(network.config)), network.state_dict())


def test_a_separate_vae_has_no_prefix() -> None:
    names = ldm_keys.vae(tiny_vae().state_dict(), prefix="")
    assert {name.split(".")[0] for name in names} == {"encoder", "decoder", "quant_conv", "post_quant_conv"}


def test_lora_weights_are_what_diffusers_reads_from_kohyas_files(tmp_path: Path) -> None:
    unet = tiny_unet(False)
    unet.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=lora.UNET_TARGETS))
    for name, parameter in unet.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter)
    ours = {k.replace(".default", ""): v.half() for k, v in unet.state_dict().items() if "lora_" in k}
    save_file(kohya.weights(kohya.UNET_PREFIX, unet.state_dict(), alpha=4), tmp_path / "x.safetensors")
    read, alphas = StableDiffusionLoraLoaderMixin.lora_state_dict(
        str(tmp_path), weight_name="x.safetensors", local_files_only=True
    )
    assert set(alphas.values()) == {4.0}
    fresh = tiny_unet(False)
    StableDiffusionLoraLoaderMixin.load_lora_into_unet(read, alphas, fresh, adapter_name="default")
    theirs = {k.replace(".default", ""): v.half() for k, v in fresh.state_dict().items() if "lora_" in k}
    assert_same(theirs, ours)


def test_the_whole_vocabulary_has_the_known_words_rows_and_one_for_all_others() -> None:
    vocabulary = Vocabulary(("sks",))
    rows = torch.arange(float(len(vocabulary)))[:, None].expand(-1, 2)
    table = vocabulary.expand(rows)
    assert table.shape == (49408, 2)
    text = "a small red sks, zeppelin background"
    clip, dense = vocabulary.clip_ids([text])[0], vocabulary.encode([text])[0]
    assert torch.equal(table[clip, 0].long(), dense)
    assert int((dense == 0).sum()) == 1  # the zeppelin
    smaller = Vocabulary()
    assert vocabulary.known[: len(smaller.known)] == smaller.known


def test_ncnn_weights_are_read_to_the_last_byte(tmp_path: Path) -> None:
    param = "7767517\n3 3\nConvolution c 1 1 in a 0=2 1=3 4=1 5=1 6=18\nPReLU p 1 1 a b 0=2\n"
    weight = torch.arange(18).half()
    bias, slopes = torch.tensor([0.5, -1.0]), torch.tensor([0.1, 0.2])
    data = (
        struct.pack("<I", 0x01306B47)
        + weight.numpy().tobytes()
        + bias.numpy().tobytes()
        + slopes.numpy().tobytes()
    )
    (tmp_path / "m.param").write_text(param)
    (tmp_path / "m.bin").write_bytes(data)
    convolution, activation = ncnn.read(tmp_path / "m.param", tmp_path / "m.bin")
    assert torch.equal(convolution.weight, weight.float().view(2, 1, 3, 3))
    assert convolution.bias is not None and torch.equal(convolution.bias, bias)
    assert torch.equal(activation.weight, slopes)
    (tmp_path / "m.bin").write_bytes(data + bytes(4))
    with pytest.raises(ValueError, match="4 bytes are left"):
        ncnn.read(tmp_path / "m.param", tmp_path / "m.bin")


def test_an_rrdb_network_of_a_wrong_depth_is_refused() -> None:
    with pytest.raises(ValueError, match="not 7"):
        ncnn.rrdb_names([ncnn.Layer("Convolution", torch.zeros(1), None)] * 7)


# What A1111's check of pickles lets pass; of an archive, these records and no others.
A1111_RECORD = re.compile(r"^([^/]+)/((data/\d+)|version|(data\.pkl))$")
A1111_GLOBALS = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch", "FloatStorage"),
    ("torch", "HalfStorage"),
}


def assert_a1111_accepts(path: Path) -> None:
    """Its rule: an archive of known records, or else five pickles that name nothing but tensors."""
    if zipfile.is_zipfile(path):
        assert all(A1111_RECORD.match(name) for name in zipfile.ZipFile(path).namelist())
        return
    with path.open("rb") as file:
        for _ in range(5):
            strings: list[str] = []
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name == "GLOBAL":
                    assert tuple(str(argument).split(" ", 1)) in A1111_GLOBALS
                assert opcode.name not in ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ"), (opcode.name, strings)


def test_an_embeddings_two_files_hold_the_same_vectors(tmp_path: Path) -> None:
    vectors = torch.randn(2, 8)
    files.save_pickle(tmp_path / "x.pt", a1111.embedding_pickle("x", vectors, steps=7))
    assert_a1111_accepts(tmp_path / "x.pt")
    stored = torch.load(tmp_path / "x.pt", weights_only=True)
    assert torch.equal(stored["string_to_param"]["*"], vectors)
    assert (stored["name"], stored["step"]) == ("x", 7)
    assert torch.equal(a1111.embedding_safetensors(vectors)["emb_params"], vectors)


def test_a_hypernetwork_is_rebuilt_from_what_its_file_says(tmp_path: Path) -> None:
    """Built as A1111 does, from layer structure and activation, not by this project's own class."""
    network = hypernetwork.Hypernetwork(16)
    pair = (network.keys.state_dict(), network.values.state_dict())
    content = a1111.hypernetwork_pickle("x", 16, pair, structure=hypernetwork.LAYER_STRUCTURE, steps=7)
    files.save_pickle(tmp_path / "x.pt", content)
    assert_a1111_accepts(tmp_path / "x.pt")
    stored = torch.load(tmp_path / "x.pt", weights_only=True)
    (width,) = (key for key in stored if isinstance(key, int))
    structure = stored["layer_structure"]
    assert (stored["activation_func"], stored["is_layer_norm"], stored["activate_output"]) == (
        "relu",
        False,
        False,
    )
    context = torch.randn(3, width)
    for part, own in zip(stored[width], (network.keys, network.values), strict=True):
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(pairwise(structure)):
            layers.append(nn.Linear(int(width * before), int(width * after)))
            if i < len(structure) - 2:
                layers.append(nn.ReLU())
        rebuilt = nn.Sequential(*layers)
        rebuilt.load_state_dict({key.removeprefix("linear."): value for key, value in part.items()})
        torch.testing.assert_close(rebuilt(context), own(context))


def test_a_hypernetwork_acts_where_the_context_has_its_width_and_only_while_applied() -> None:
    unet = tiny_unet(False)
    inputs = (torch.randn(1, 4, 8, 8), 1, torch.randn(1, 5, 64))
    with torch.no_grad():
        plain = unet(*inputs).sample
        network = hypernetwork.Hypernetwork(64)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter)
        with network.applied(unet):
            changed = unet(*inputs).sample
        with network.applied(unet, 0.0):
            idle = unet(*inputs).sample
        with hypernetwork.Hypernetwork(48).applied(unet):
            other_width = unet(*inputs).sample
        after = unet(*inputs).sample
    assert not torch.allclose(plain, changed)
    for same in (idle, other_width, after):
        torch.testing.assert_close(same, plain)


def test_lora_weights_of_the_text_encoder_survive_too(tmp_path: Path) -> None:
    config = CLIPTextConfig(vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=1)
    encoder = CLIPTextModel(config)
    encoder.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=lora.TEXT_TARGETS))
    weights = kohya.weights(kohya.TEXT_PREFIX, encoder.state_dict(), alpha=4)
    modules = {
        key.rsplit(".", 2)[0] if "lora_" in key.split(".")[-2] else key.rpartition(".")[0] for key in weights
    }
    stem = "lora_te_text_model_encoder_layers_0_"
    assert modules == {
        stem + name
        for name in (
            "self_attn_q_proj",
            "self_attn_k_proj",
            "self_attn_v_proj",
            "self_attn_out_proj",
            "mlp_fc1",
            "mlp_fc2",
        )
    }
