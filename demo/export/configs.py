"""The diffusers configurations of the single files: what `from_single_file(config=…)` wants beside the
weights.

The networks' shapes are small; everything else equals Stable Diffusion 1.5's own configuration.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from diffusers import ControlNetModel

from demo.train import networks
from demo.train.vocabulary import TOKENIZER

CHECKPOINTS = ("demo-sd15", "demo-crescent")
CONTROLNET = "demo-canny"

SCHEDULER: dict[str, Any] = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
}
PIPELINE: dict[str, Any] = {
    "_class_name": "StableDiffusionPipeline",
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def write(models: Path) -> None:
    """Writes a folder `config` beside each checkpoint, and the ControlNet's."""
    unet = networks.build_unet()
    for name in CHECKPOINTS:
        folder = models / name / "config"
        shutil.rmtree(folder, ignore_errors=True)
        for part, network in (
            ("unet", unet),
            ("vae", networks.build_vae()),
            ("text_encoder", networks.build_text_encoder()),
        ):
            network.save_config(folder / part) if part != "text_encoder" else network.config.save_pretrained(
                folder / part
            )
        shutil.copytree(TOKENIZER, folder / "tokenizer")
        _write_json(folder / "scheduler/scheduler_config.json", SCHEDULER)
        _write_json(folder / "model_index.json", PIPELINE)
    ControlNetModel.from_unet(unet, conditioning_channels=3).save_config(models / CONTROLNET / "config")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
