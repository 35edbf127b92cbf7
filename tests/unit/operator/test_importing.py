"""Folders of other tools become ModelBundles: right types, lawful names, and nothing lost without a word.

Every model here is a real file, written by safetensors or PyTorch, with the tensor names of its kind.
"""

import hashlib
import itertools
import json
import os
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from sd_operator.api.base import parse
from sd_operator.api.bundle import ModelBundle
from sd_operator.bundle.__main__ import main
from sd_operator.bundle.importing import hashing
from tests.unit.operator.unprivileged import unprivileged

Tensors = Mapping[str, tuple[int, ...]]

SD15: Tensors = {
    "model.diffusion_model.input_blocks.0.0.weight": (4, 4, 3, 3),
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (4, 768),
    "model.diffusion_model.out.2.weight": (4, 4, 3, 3),
    "first_stage_model.encoder.conv_in.weight": (4, 3, 3, 3),
    "first_stage_model.decoder.conv_in.weight": (4, 4, 3, 3),
    "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight": (77, 768),
}
SDXL: Tensors = {
    "model.diffusion_model.input_blocks.0.0.weight": (4, 4, 3, 3),
    "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (4, 2048),
    "first_stage_model.encoder.conv_in.weight": (4, 3, 3, 3),
    "first_stage_model.decoder.conv_in.weight": (4, 4, 3, 3),
    "conditioner.embedders.0.transformer.text_model.embeddings.position_embedding.weight": (77, 768),
    "conditioner.embedders.1.model.positional_embedding": (77, 1280),
}
LORA: Tensors = {
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": (4, 768),
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_up.weight": (320, 4),
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.alpha": (),
}
VAE: Tensors = {
    "encoder.conv_in.weight": (4, 3, 3, 3),
    "decoder.conv_in.weight": (4, 4, 3, 3),
    "decoder.conv_out.weight": (3, 4, 3, 3),
}
EMBEDDING: Tensors = {"emb_params": (2, 768)}
CONTROLNET: Tensors = {
    "control_model.input_hint_block.0.weight": (4, 3, 3, 3),
    "control_model.zero_convs.0.0.weight": (4, 4, 1, 1),
    "control_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (4, 768),
}
UPSCALER: Tensors = {
    "conv_first.weight": (4, 3, 3, 3),
    "body.0.rdb1.conv1.weight": (4, 4, 3, 3),
    "conv_last.weight": (3, 4, 3, 3),
}
ANNOTATOR: Tensors = {"model0.conv1_1.weight": (4, 3, 3, 3), "model0.conv1_1.bias": (4,)}


def tensors(shapes: Tensors, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator).half() for name, shape in shapes.items()}


class Folder:
    """A tool's folder, filled by hand; every file that it writes has content of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._seed = 0

    def safetensors(self, path: str, shapes: Tensors) -> Path:
        self._seed += 1
        return self._write(path, lambda target: save_file(tensors(shapes, self._seed), target))

    def pickle(self, path: str, content: object) -> Path:
        return self._write(path, lambda target: torch.save(content, target))

    def bytes(self, path: str, content: bytes) -> Path:
        return self._write(path, lambda target: target.write_bytes(content))

    def link(self, path: str, target: str | Path) -> Path:
        return self._write(path, lambda link: link.symlink_to(target))

    def _write(self, path: str, write: Callable[[Path], object]) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        write(target)
        return target


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def manifests(self) -> list[dict[str, Any]]:
        return list(yaml.safe_load_all(self.out))

    @property
    def files(self) -> list[dict[str, Any]]:
        return [file for manifest in self.manifests for file in manifest["spec"]["files"]]

    @property
    def types(self) -> dict[str, str]:
        return {file["source"]["volume"]["path"]: file["type"] for file in self.files}

    @property
    def names(self) -> dict[str, str]:
        return {file["source"]["volume"]["path"]: file["name"] for file in self.files}

    @property
    def file_names(self) -> dict[str, str | None]:
        return {file["source"]["volume"]["path"]: file.get("fileName") for file in self.files}

    def line(self, path: str) -> str:
        """The one line about a path on standard error."""
        (line,) = [line for line in self.err.splitlines() if f": {path}: " in line]
        return line


Run = Callable[..., Outcome]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    root = tmp_path / "webui"
    root.mkdir()
    return Folder(root)


@pytest.fixture
def run(folder: Folder, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str, of: Path | None = None) -> Outcome:
        code = main([str(of or folder.root), "--claim", "old-models", *arguments])
        captured = capsys.readouterr()
        outcome = Outcome(code, captured.out, captured.err)
        if code == 0:
            for manifest in outcome.manifests:
                assert_accepted(manifest)
        return outcome

    return run


def assert_accepted(manifest: dict[str, Any]) -> None:
    """The API takes it as it stands: it parses, loses no field, and its files have places of their own."""
    bundle = parse(
        ModelBundle, {**manifest, "metadata": {**manifest["metadata"], "namespace": "n", "uid": "u"}}
    )
    assert manifest["apiVersion"] == "sdoperator.dev/v1alpha1"
    assert manifest["kind"] == "ModelBundle"
    assert re.fullmatch("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", manifest["metadata"]["name"])
    assert_contained(manifest["spec"], bundle.spec.as_manifest())
    places = [bundle.place_of(file) for file in bundle.spec.files]
    assert None not in places
    assert len({str(place).casefold() for place in places}) == len(places)
    assert len({file.name for file in bundle.spec.files}) == len(places)


def assert_contained(part: object, whole: object) -> None:
    if isinstance(part, dict):
        assert isinstance(whole, dict)
        for key, value in part.items():
            assert key in whole
            assert_contained(value, whole[key])
    elif isinstance(part, list):
        assert isinstance(whole, list)
        assert len(part) == len(whole)
        for one, other in zip(part, whole, strict=True):
            assert_contained(one, other)
    else:
        assert part == whole


# --- layouts -----------------------------------------------------------------------------------------------


def test_a_folder_of_a1111_is_read(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Stable-diffusion/base.safetensors", SD15)
    folder.safetensors("models/Stable-diffusion/base.vae.safetensors", VAE)
    folder.safetensors("models/VAE/ft-mse.safetensors", VAE)
    folder.safetensors("models/Lora/style.safetensors", LORA)
    folder.safetensors("models/LyCORIS/other.safetensors", LORA)
    folder.safetensors("embeddings/easynegative.safetensors", EMBEDDING)
    folder.safetensors("models/ControlNet/canny.safetensors", CONTROLNET)
    folder.safetensors("extensions/sd-webui-controlnet/models/depth.safetensors", CONTROLNET)
    folder.safetensors(
        "extensions/sd-webui-controlnet/annotator/downloads/openpose/body.safetensors", ANNOTATOR
    )
    folder.safetensors("models/ESRGAN/4x.safetensors", UPSCALER)
    folder.safetensors("models/RealESRGAN/x4plus.safetensors", UPSCALER)
    outcome = run()
    assert outcome.code == 0
    assert outcome.types == {
        "models/Stable-diffusion/base.safetensors": "Checkpoint",
        "models/Stable-diffusion/base.vae.safetensors": "VAE",
        "models/VAE/ft-mse.safetensors": "VAE",
        "models/Lora/style.safetensors": "LoRA",
        "models/LyCORIS/other.safetensors": "LoRA",
        "embeddings/easynegative.safetensors": "TextualInversion",
        "models/ControlNet/canny.safetensors": "ControlNet",
        "extensions/sd-webui-controlnet/models/depth.safetensors": "ControlNet",
        "extensions/sd-webui-controlnet/annotator/downloads/openpose/body.safetensors": "Annotator",
        "models/ESRGAN/4x.safetensors": "Upscaler",
        "models/RealESRGAN/x4plus.safetensors": "Upscaler",
    }
    assert "by its tensors" not in outcome.err


def test_a_folder_of_comfyui_is_read(folder: Folder, run: Run) -> None:
    folder.safetensors("models/checkpoints/base.safetensors", SDXL)
    folder.safetensors("models/loras/style.sft", LORA)
    folder.safetensors("models/vae/ft-mse.safetensors", VAE)
    folder.safetensors("models/embeddings/bad.safetensors", EMBEDDING)
    folder.safetensors("models/controlnet/canny.safetensors", CONTROLNET)
    folder.safetensors("models/upscale_models/4x.safetensors", UPSCALER)
    folder.safetensors(
        "custom_nodes/ComfyUI_ControlNet_Aux/ckpts/lllyasviel/Annotators/body.safetensors", ANNOTATOR
    )
    folder.safetensors("models/clip_vision/vit.safetensors", ANNOTATOR)
    outcome = run()
    assert outcome.types == {
        "models/checkpoints/base.safetensors": "Checkpoint",
        "models/vae/ft-mse.safetensors": "VAE",
        "models/loras/style.sft": "LoRA",
        "models/embeddings/bad.safetensors": "TextualInversion",
        "models/controlnet/canny.safetensors": "ControlNet",
        "models/upscale_models/4x.safetensors": "Upscaler",
        "custom_nodes/ComfyUI_ControlNet_Aux/ckpts/lllyasviel/Annotators/body.safetensors": "Annotator",
    }
    assert outcome.file_names["models/loras/style.sft"] == "style.safetensors"
    assert outcome.line("models/clip_vision") == (
        "left out: models/clip_vision: 1 file of a kind that no bundle has"
    )


@pytest.mark.parametrize(
    ("checkpoint", "lora"),
    [
        ("data/models/Stable-diffusion/a.safetensors", "data/models/Lora/b.safetensors"),
        ("data/StableDiffusion/a.safetensors", "data/Lora/b.safetensors"),
    ],
    ids=["as since version 8", "as before"],
)
@pytest.mark.parametrize("inside", [False, True], ids=["the repository", "its data folder"])
def test_a_folder_of_stable_diffusion_webui_docker_is_read(
    folder: Folder, run: Run, checkpoint: str, lora: str, inside: bool
) -> None:
    controlnet = "data/config/auto/extensions/sd-webui-controlnet/models/c.safetensors"
    for path, shapes in ((checkpoint, SD15), (lora, LORA), (controlnet, CONTROLNET)):
        folder.safetensors(path, shapes)
    folder.safetensors("data/embeddings/d.safetensors", EMBEDDING)
    folder.safetensors("data/.cache/huggingface/e.safetensors", SD15)
    outcome = run(of=folder.root / "data" if inside else None)
    drop = "data/" if inside else ""
    assert {f"{path.removeprefix(drop)}": kind for path, kind in outcome.types.items()} == {
        checkpoint.removeprefix(drop): "Checkpoint",
        lora.removeprefix(drop): "LoRA",
        "data/embeddings/d.safetensors".removeprefix(drop): "TextualInversion",
        controlnet.removeprefix(drop): "ControlNet",
    }


def test_the_models_folder_alone_is_read(folder: Folder, run: Run) -> None:
    folder.safetensors("Stable-diffusion/a.safetensors", SD15)
    folder.safetensors("hypernetworks/h.safetensors", LORA)
    assert run().types == {
        "Stable-diffusion/a.safetensors": "Checkpoint",
        "hypernetworks/h.safetensors": "LoRA",
    }


def test_extra_model_paths_are_honoured_inside_the_folder_only(folder: Folder, run: Run) -> None:
    elsewhere = folder.root.parent / "elsewhere"
    elsewhere.mkdir()
    folder.safetensors("models/checkpoints/base.safetensors", SD15)
    folder.safetensors("shared/styles/one.safetensors", LORA)
    folder.safetensors("shared/more/two.safetensors", LORA)
    folder.safetensors("models/mine/three.safetensors", CONTROLNET)
    extra = {
        "a111": {"base_path": "shared", "loras": "styles\nmore\nmissing", "configs": "styles"},
        "comfyui": {"base_path": str(folder.root), "controlnet": "models/mine", "vae": str(elsewhere)},
        "empty": None,
    }
    folder.bytes("extra_model_paths.yaml", yaml.safe_dump(extra).encode())
    outcome = run()
    assert outcome.types == {
        "models/checkpoints/base.safetensors": "Checkpoint",
        "shared/styles/one.safetensors": "LoRA",
        "shared/more/two.safetensors": "LoRA",
        "models/mine/three.safetensors": "ControlNet",
    }
    assert f"left out: {elsewhere}: lies outside" in outcome.err
    assert "shared/missing is no folder on this machine" in outcome.line("extra_model_paths.yaml")
    assert "models/mine" not in outcome.err


@pytest.mark.parametrize(
    "content", [b"a: [", b"- 1", b"{a: {loras: {b: c}}}", b"[" * 100_000, b"\xff\xfe\x00", b""]
)
def test_extra_model_paths_that_make_no_sense_do_no_harm(folder: Folder, run: Run, content: bytes) -> None:
    folder.safetensors("models/checkpoints/base.safetensors", SD15)
    folder.bytes("extra_model_paths.yaml", content)
    assert len(run().files) == 1


# --- what is written ---------------------------------------------------------------------------------------


def test_an_entry_says_where_the_file_is_what_it_is_and_its_digest(folder: Folder, run: Run) -> None:
    path = folder.safetensors("models/Stable-diffusion/Base v1.safetensors", SD15)
    outcome = run("--name", "mine", "--prefix", "/pool/./webui/")
    assert outcome.manifests == [
        {
            "apiVersion": "sdoperator.dev/v1alpha1",
            "kind": "ModelBundle",
            "metadata": {"name": "mine"},
            "spec": {
                "storage": {"size": "2Gi"},
                "files": [
                    {
                        "name": "base-v1",
                        "type": "Checkpoint",
                        "family": "SD15",
                        "source": {
                            "volume": {
                                "claimName": "old-models",
                                "path": "pool/webui/models/Stable-diffusion/Base v1.safetensors",
                            }
                        },
                        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                    }
                ],
            },
        }
    ]
    assert outcome.err == "1 file in 1 bundle, 0 left out\n"


def test_the_name_comes_from_the_folder(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Stable-diffusion/a.safetensors", SD15)
    odd = folder.root.rename(folder.root.parent / "Méin _Web UI!")
    assert run(of=odd).manifests[0]["metadata"]["name"] == "mein-web-ui"
    nameless = odd.rename(folder.root.parent / "模型")
    assert run(of=nameless).manifests[0]["metadata"]["name"] == "models"


def test_no_hash_leaves_digests_out_and_reads_headers_only(folder: Folder, run: Run) -> None:
    path = folder.safetensors("models/Stable-diffusion/a.safetensors", SD15)
    os.link(path, path.with_name("b.safetensors"))
    outcome = run("--no-hash")
    assert [file["name"] for file in outcome.files] == ["a"]
    assert "sha256" not in outcome.files[0]
    assert outcome.line("models/Stable-diffusion/b.safetensors").endswith(
        "the same file as models/Stable-diffusion/a.safetensors"
    )


def test_a_family_that_the_file_does_not_show_is_not_written(folder: Folder, run: Run) -> None:
    folder.safetensors("models/ESRGAN/4x.safetensors", UPSCALER)
    folder.safetensors("models/checkpoints/xl.safetensors", SDXL)
    assert [file.get("family") for file in run().files] == ["SDXL", None]


def sparse(path: Path, size: int) -> None:
    """A safetensors file whose data take no room on the disk."""
    header = json.dumps(
        {"module.weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    ).encode()
    path.parent.mkdir(parents=True)
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    os.truncate(path, 8 + len(header) + size)


def test_the_volume_has_room_for_the_files_and_some_more_and_headers_are_enough_to_tell(
    folder: Folder, run: Run
) -> None:
    sparse(folder.root / "models/Annotators/a.safetensors", 40 * 1024**3)
    sparse(folder.root / "models/ControlNetPreprocessor/b.safetensors", 10 * 1024**3)
    outcome = run("--no-hash")
    assert list(outcome.types.values()) == ["Annotator", "Annotator"]
    assert outcome.manifests[0]["spec"]["storage"]["size"] == "57Gi"


def test_more_files_than_a_bundle_holds_become_several_bundles(folder: Folder, run: Run) -> None:
    for number in range(130):
        folder.safetensors(f"models/Lora/style-{number:03}.safetensors", LORA)
    outcome = run("--name", "styles")
    assert [manifest["metadata"]["name"] for manifest in outcome.manifests] == [
        "styles-1",
        "styles-2",
        "styles-3",
    ]
    assert [len(manifest["spec"]["files"]) for manifest in outcome.manifests] == [64, 64, 2]
    assert len({file["name"] for file in outcome.files}) == 130
    assert outcome.err.endswith("130 files in 3 bundles, 0 left out\n")


def test_two_runs_print_the_same(folder: Folder, run: Run) -> None:
    for number in (3, 1, 2):
        folder.safetensors(f"models/Lora/{number}/{number}.safetensors", LORA)
        folder.safetensors(f"models/Lora/{number}/same.safetensors", LORA)
    assert run().out == run().out


def test_the_yaml_holds_no_text_that_a_reader_takes_for_something_else(folder: Folder, run: Run) -> None:
    for name in ("y", "no", "1e3", "0x1f", "12", "null", "1.5", "~"):
        folder.safetensors(f"models/Lora/{name}.safetensors", LORA)
    text = run("--no-hash").out
    assert sorted(re.findall(r"(?<=- name: ).*", text)) == sorted(
        ["'0x1f'", "'12'", "'1-5'", "'1e3'", "'no'", "'null'", "'y'", "lora"]
    )


# --- types -------------------------------------------------------------------------------------------------


def test_the_header_has_the_last_word_on_the_type(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Stable-diffusion/a.safetensors", SD15)
    folder.safetensors("models/Stable-diffusion/style.safetensors", LORA)
    outcome = run()
    assert outcome.types["models/Stable-diffusion/style.safetensors"] == "LoRA"
    note = "lies where Checkpoints lie, but by its tensors is a LoRA; taken as that"
    assert outcome.line("models/Stable-diffusion/style.safetensors").endswith(note)
    assert f"  # {note}\n  - name: style\n" in outcome.out


def test_a_file_that_contradicts_every_use_is_left_out(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Stable-diffusion/a.safetensors", SD15)
    folder.safetensors("models/Stable-diffusion/what.safetensors", {"some.weight": (2, 2)})
    outcome = run()
    assert list(outcome.types) == ["models/Stable-diffusion/a.safetensors"]
    assert outcome.line("models/Stable-diffusion/what.safetensors").startswith("left out: ")


# --- pickles -----------------------------------------------------------------------------------------------


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch executed",)


def test_pickles_are_left_out_by_name_unless_asked_for(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Stable-diffusion/a.safetensors", SD15)
    folder.pickle("models/Stable-diffusion/b.ckpt", {"state_dict": tensors(SD15, 1)})
    folder.pickle("embeddings/c.pt", {"string_to_param": {"*": torch.zeros(2, 768)}})
    outcome = run()
    assert list(outcome.types) == ["models/Stable-diffusion/a.safetensors"]
    assert "--pickles scan" in outcome.line("models/Stable-diffusion/b.ckpt")
    assert "--pickles scan" in outcome.line("embeddings/c.pt")
    assert "formatPolicy" not in outcome.manifests[0]["spec"]


def test_scanned_pickles_are_let_in_and_those_with_code_are_not(folder: Folder, run: Run) -> None:
    folder.pickle("models/Stable-diffusion/b.ckpt", {"state_dict": tensors(SD15, 1)})
    folder.pickle("embeddings/c.pt", {"string_to_param": {"*": torch.zeros(2, 768)}, "name": "c"})
    folder.pickle("models/hypernetworks/h.pt", {768: [tensors({"linear.0.weight": (4, 768)}, 2)] * 2})
    folder.pickle("models/ESRGAN/u.pth", {"params_ema": tensors(UPSCALER, 3)})
    folder.pickle("models/Lora/evil.pt", {"a": Evil()})
    outcome = run("--pickles", "scan")
    assert outcome.types == {
        "models/Stable-diffusion/b.ckpt": "Checkpoint",
        "embeddings/c.pt": "TextualInversion",
        "models/hypernetworks/h.pt": "Hypernetwork",
        "models/ESRGAN/u.pth": "Upscaler",
    }
    assert outcome.manifests[0]["spec"]["formatPolicy"] == "ScanPickle"
    assert "system" in outcome.line("models/Lora/evil.pt")
    assert not Path("executed").exists()


def test_the_content_decides_what_is_a_pickle_not_the_name(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Stable-diffusion/a.ckpt", SD15)
    folder.pickle("models/Stable-diffusion/b.safetensors", {"state_dict": tensors(SD15, 1)})
    outcome = run()
    assert outcome.file_names == {"models/Stable-diffusion/a.ckpt": "a.safetensors"}
    assert "a pickle" in outcome.line("models/Stable-diffusion/b.safetensors")


# --- names -------------------------------------------------------------------------------------------------


def test_names_that_break_the_rules_are_made_lawful(folder: Folder, run: Run) -> None:
    long = "x" * 188 + ".safetensors"
    given = {
        "models/Lora/Über Stil (v2).safetensors": "Uber Stil (v2).safetensors",
        "models/Lora/模型.safetensors": "lora.safetensors",
        "models/Lora/画风 style.safetensors": "_ style.safetensors",
        "models/Lora/SHOUT.SAFETENSORS": "SHOUT.safetensors",
        "models/Lora/a&b;c.safetensors": "a_b_c.safetensors",
        "models/Lora/plain name.v1.safetensors": None,
        f"models/Lora/{long}": None,
        f"models/Lora/{'y' * 230}.safetensors": f"{'y' * 188}.safetensors",
    }
    for path in given:
        folder.safetensors(path, LORA)
    outcome = run()
    assert outcome.file_names == given
    assert outcome.names["models/Lora/Über Stil (v2).safetensors"] == "uber-stil-v2"
    assert outcome.names["models/Lora/模型.safetensors"] == "lora"
    assert len(outcome.names[f"models/Lora/{long}"]) == 63
    assert outcome.line("models/Lora/a&b;c.safetensors").endswith(
        ": becomes models/Lora/a_b_c.safetensors: its own name is not allowed"
    )


def test_subfolders_are_flattened_and_files_of_one_name_kept_apart(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Lora/anime/Style.safetensors", LORA)
    folder.safetensors("models/Lora/photo/style.safetensors", LORA)
    folder.safetensors("models/Lora/style.safetensors", LORA)
    folder.safetensors("models/LyCORIS/style.safetensors", LORA)
    folder.safetensors("models/Lora/photo/other.safetensors", LORA)
    outcome = run()
    assert outcome.file_names == {
        "models/Lora/style.safetensors": None,
        "models/LyCORIS/style.safetensors": "style-2.safetensors",
        "models/Lora/anime/Style.safetensors": "anime_Style.safetensors",
        "models/Lora/photo/other.safetensors": None,
        "models/Lora/photo/style.safetensors": "photo_style.safetensors",
    }
    assert list(outcome.names.values()) == ["style", "style-2", "anime-style", "other", "photo-style"]
    assert outcome.line("models/Lora/photo/other.safetensors").endswith(
        "becomes models/Lora/other.safetensors: a bundle has no subfolders"
    )
    assert outcome.line("models/Lora/photo/style.safetensors").endswith("its own name is taken")


def test_of_a_model_in_two_formats_the_safetensors_file_keeps_the_name(folder: Folder, run: Run) -> None:
    folder.pickle("embeddings/word.pt", {"string_to_param": {"*": torch.zeros(2, 768)}})
    folder.safetensors("embeddings/word.safetensors", EMBEDDING)
    outcome = run("--pickles", "scan")
    assert outcome.file_names == {
        "embeddings/word.safetensors": None,
        "embeddings/word.pt": "word-2.safetensors",
    }


def test_files_of_two_types_may_have_one_file_name_but_not_one_name(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Stable-diffusion/same.safetensors", SD15)
    folder.safetensors("models/VAE/same.safetensors", VAE)
    outcome = run()
    assert list(outcome.names.values()) == ["same", "same-2"]
    assert list(outcome.file_names.values()) == [None, None]


# --- what is left out --------------------------------------------------------------------------------------


def test_equal_files_are_taken_once(folder: Folder, run: Run) -> None:
    path = folder.safetensors("models/VAE/a.safetensors", VAE)
    folder.bytes("models/Stable-diffusion/a.vae.safetensors", path.read_bytes())
    folder.bytes("models/Stable-diffusion/0.safetensors", path.read_bytes())
    outcome = run()
    assert list(outcome.types) == ["models/Stable-diffusion/a.vae.safetensors"]
    for double in ("models/VAE/a.safetensors", "models/Stable-diffusion/0.safetensors"):
        assert outcome.line(double).endswith("the same file as models/Stable-diffusion/a.vae.safetensors")


def test_files_that_are_no_models_are_told(folder: Folder, run: Run) -> None:
    good = folder.safetensors("models/Lora/good.safetensors", LORA)
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 5\n"
    contents = {
        "empty.safetensors": b"",
        "pointer.safetensors": pointer,
        "page.safetensors": b"<!DOCTYPE html><html>",
        "cut.safetensors": good.read_bytes()[:-7],
        "head.safetensors": good.read_bytes()[:40],
        "archive.zip": b"PK",
        "noise.bin": bytes(range(1, 200)),
        "unfinished.safetensors.part": good.read_bytes(),
        "going.safetensors.aria2": b"x",
    }
    for name, content in contents.items():
        folder.bytes(f"models/Lora/{name}", content)
    outcome = run()
    assert list(outcome.types) == ["models/Lora/good.safetensors"]
    for name in contents:
        assert outcome.line(f"models/Lora/{name}").startswith("left out: ")
    assert outcome.line("models/Lora/empty.safetensors").endswith("is empty")
    assert "Git LFS" in outcome.line("models/Lora/pointer.safetensors")
    assert "unfinished download" in outcome.line("models/Lora/unfinished.safetensors.part")
    assert outcome.err.endswith(f"1 file in 1 bundle, {len(contents)} left out\n")


def test_what_lies_beside_models_needs_no_word(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Lora/a.safetensors", LORA)
    for name in (
        "a.civitai.info",
        "a.preview.png",
        "a.json",
        "a.txt",
        "Put Lora files here.txt",
        ".DS_Store",
    ):
        folder.bytes(f"models/Lora/{name}", b"x")
    folder.safetensors("models/Lora/.trash/b.safetensors", LORA)
    folder.safetensors("models/Lora/.hidden.safetensors", LORA)
    outcome = run()
    assert list(outcome.types) == ["models/Lora/a.safetensors"]
    assert outcome.err == "1 file in 1 bundle, 0 left out\n"


def test_links_are_followed_inside_the_folder_only(folder: Folder, run: Run) -> None:
    outside = folder.root.parent / "outside"
    outside.mkdir()
    (outside / "x.safetensors").write_bytes(b"x")
    folder.safetensors("models/Lora/real.safetensors", LORA)
    folder.safetensors("store/blobs/abc123", LORA)
    folder.safetensors("store/more/inner.safetensors", LORA)
    folder.link("models/Lora/by link.safetensors", folder.root / "store/blobs/abc123")
    folder.link("models/Lora/again.safetensors", "real.safetensors")
    folder.link("models/Lora/more", "../../store/more")
    folder.link("models/Lora/loop", "..")
    folder.link("models/Lora/self.safetensors", "self.safetensors")
    folder.link("models/Lora/broken.safetensors", "nowhere")
    folder.link("models/Lora/out.safetensors", outside / "x.safetensors")
    folder.link("models/VAE", outside)
    outcome = run()
    assert outcome.file_names == {
        "models/Lora/real.safetensors": None,
        "store/blobs/abc123": "by link.safetensors",
        "store/more/inner.safetensors": None,
    }
    assert "taken as such" in outcome.line("models/Lora/again.safetensors")
    assert "leads to itself" in outcome.line("models/Lora/self.safetensors")
    assert "a folder that it lies in" in outcome.line("models/Lora/loop")
    assert "broken link" in outcome.line("models/Lora/broken.safetensors")
    assert "outside" in outcome.line("models/Lora/out.safetensors")
    assert "outside" in outcome.line("models/VAE")


def test_what_cannot_be_opened_is_told_and_waits_for_nobody(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Lora/a.safetensors", LORA)
    os.mkfifo(folder.root / "models/Lora/pipe.safetensors")
    (folder.root / "models/Lora/folder.safetensors").mkdir()
    outcome = run()
    assert list(outcome.types) == ["models/Lora/a.safetensors"]
    assert "no regular file" in outcome.line("models/Lora/pipe.safetensors")


def test_what_may_not_be_read_is_told(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Lora/a.safetensors", LORA)
    file = folder.safetensors("models/Lora/b.safetensors", LORA)
    inside = folder.safetensors("models/VAE/c.safetensors", VAE).parent
    with unprivileged(folder.root):
        file.chmod(0)
        inside.chmod(0)
        outcome = run()
        inside.chmod(0o700)
    assert list(outcome.types) == ["models/Lora/a.safetensors"]
    assert "cannot be read" in outcome.line("models/Lora/b.safetensors")
    assert "cannot be read" in outcome.line("models/VAE")


def test_a_path_that_the_api_refuses_is_left_out(folder: Folder, run: Run) -> None:
    folder.safetensors("models/Lora/a.safetensors", LORA)
    folder.safetensors("models/Lora/new\nline.safetensors", LORA)
    undecodable = os.fsdecode(b"models/Lora/latin\xe9.safetensors")
    folder._write(
        undecodable, lambda path: path.write_bytes((folder.root / "models/Lora/a.safetensors").read_bytes())
    )
    outcome = run("--no-hash")
    assert list(outcome.types) == ["models/Lora/a.safetensors"]
    assert "path" in outcome.line("models/Lora/new\\nline.safetensors")
    assert outcome.line("models/Lora/latin\\udce9.safetensors").startswith("left out: ")


# --- hashing -----------------------------------------------------------------------------------------------


def test_hashing_tells_how_far_it_is_now_and_then(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(10 * 1024**2))
    lines: list[str] = []
    ticks = itertools.count(0, 6)
    progress = hashing.Progress(2 * 1024**3, lines.append, clock=lambda: next(ticks))
    digest = hashing.sha256(path, progress, expected_size=10 * 1024**2)
    assert digest == hashlib.sha256(bytes(10 * 1024**2)).hexdigest()
    assert lines == ["hashing: 0.0 of 2.0 GiB"]


def test_a_file_that_grows_while_it_is_hashed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")

    def grow() -> float:
        with path.open("ab") as file:
            file.write(b"6")
        return 0

    progress = hashing.Progress(5, print, clock=grow)
    with pytest.raises(hashing.Changed):
        hashing.sha256(path, progress, expected_size=5)


# --- when there is nothing to print ------------------------------------------------------------------------


def test_a_folder_that_is_not_there_is_an_error(folder: Folder, run: Run) -> None:
    outcome = run(of=folder.root / "missing")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"error: {folder.root}/missing: No such file or directory\n"


def test_a_file_instead_of_a_folder_is_an_error(folder: Folder, run: Run) -> None:
    outcome = run(of=folder.bytes("file", b""))
    assert outcome.code == 2
    assert outcome.err.endswith("/file: is not a folder\n")


def test_a_folder_without_models_is_an_error(folder: Folder, run: Run) -> None:
    folder.bytes("models/Lora/a.safetensors", b"")
    outcome = run()
    assert (outcome.code, outcome.out) == (2, "")
    assert "error: " in outcome.err
    assert "holds no file that a ModelBundle can have" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--claim", "Old_Models"], "'Old_Models' is no name of a PersistentVolumeClaim"),
        (["--claim", "c", "--name=-x"], "'-x' must be at most 59 lower-case letters"),
        (["--claim", "c", "--name", "x" * 60], "must be at most 59 lower-case letters"),
        (["--claim", "c", "--prefix", "a/../b"], "'a/../b' must stay on the volume"),
        ([], "required: --claim"),
    ],
)
def test_arguments_that_cannot_be_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), *arguments])
    assert stopped.value.code == 2
    assert complaint in capsys.readouterr().err
