"""Folders of other tools, filled by hand, and what the importer prints of them.

Every model here is a real file, written by safetensors or PyTorch, with the tensor names of its kind.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file

from sd_operator.api.base import parse
from sd_operator.api.bundle import ModelBundle

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
