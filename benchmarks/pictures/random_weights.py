"""Files of Stable Diffusion 1.5's names and shapes with random weights: a checkpoint, LoRAs, and diffusers'
configuration. Nothing of them is anybody's work, and no picture of them shows anything.
"""

import json
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pictures import rig

#: Below a models folder, beside `rig.CHECKPOINT`.
LORAS = ("models/Lora/random-a.safetensors", "models/Lora/random-b.safetensors")
_LORA_RANK = 16


def lay_out(root: Path) -> None:
    """A checkpoint and two LoRAs below `root`, as A1111 lays them out."""
    for place in (rig.CHECKPOINT, *LORAS):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
    write_checkpoint(root / rig.CHECKPOINT)
    for seed, place in enumerate(LORAS):
        _write(root / place, _lora_shapes(), seed=seed, deviation=0.002)


def write_checkpoint(path: Path) -> None:
    """A single-file checkpoint."""
    _write(path, _shapes(), seed=0, deviation=0.02)


def _write(path: Path, shapes: Mapping[str, tuple[int, ...]], *, seed: int, deviation: float) -> None:
    """Small random float16 values; streamed, so that they never are in memory whole."""
    header, offset = {}, 0
    for name, shape in shapes.items():
        count = 2 * int(np.prod(shape))
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [offset, offset + count]}
        offset += count
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = np.random.default_rng(seed)
    block = (random.standard_normal(1 << 22, dtype=np.float32) * deviation).astype(np.float16).tobytes()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        while offset > 0:
            file.write(block[:offset])
            offset -= len(block)


def _lora_shapes() -> dict[str, tuple[int, ...]]:
    """Of every attention's projections, in kohya's names."""
    import torch
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        network = UNet2DConditionModel(**UNET)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Linear) and ".attn" in name:
            key = f"lora_unet_{name.replace('.', '_')}"
            shapes[f"{key}.lora_down.weight"] = (_LORA_RANK, module.in_features)
            shapes[f"{key}.lora_up.weight"] = (module.out_features, _LORA_RANK)
    return shapes


def _shapes() -> dict[str, tuple[int, ...]]:
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    from demo.export import ldm_keys

    with torch.device("meta"):
        unet = UNet2DConditionModel(**UNET).state_dict()
        vae = AutoencoderKL(**VAE).state_dict()
        text = CLIPTextModel(_clip_config()).state_dict()
    weights = {**ldm_keys.unet(unet), **ldm_keys.vae(vae), **ldm_keys.text(text)}
    return {name: tuple(value.shape) for name, value in weights.items() if "position_ids" not in name}


#: Of stable-diffusion-v1-5, as its card's configuration files tell.
UNET: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
    "norm_num_groups": 32,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "layers_per_block": 2,
    "sample_size": 64,
}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "sample_size": 512,
}


def _clip_config() -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
        num_attention_heads=12, hidden_act="quick_gelu", bos_token_id=49406, eos_token_id=49407,
    )  # fmt: skip


def write_config(folder: Path) -> None:
    """A diffusers folder without weights, which from_single_file needs offline."""
    source = rig.MODELS / "demo-sd15" / "config"
    shutil.copytree(source, folder)
    for part, changes in (("unet", UNET), ("vae", VAE), ("text_encoder", _clip_config().to_dict())):
        path = folder / part / "config.json"
        known = json.loads(path.read_text()) | changes
        path.write_text(json.dumps(known))
