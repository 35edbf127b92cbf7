"""LoRA files as kohya's trainer writes them: `lora_unet_…`, `lora_te_…`, each with its down and up matrix
and alpha.

Pure: state dicts of peft in, a state dict and metadata out.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

UNET_PREFIX, TEXT_PREFIX = "lora_unet_", "lora_te_"
_PARTS = {".lora_A.default.weight": ".lora_down.weight", ".lora_B.default.weight": ".lora_up.weight"}


def weights(prefix: str, adapted: Mapping[str, torch.Tensor], *, alpha: float) -> dict[str, torch.Tensor]:
    """The adapter's matrices under kohya's names; what is not of the adapter is left out."""
    result: dict[str, torch.Tensor] = {}
    for key, value in adapted.items():
        for ending, renamed in _PARTS.items():
            if key.endswith(ending):
                module = key.removesuffix(ending)
                if prefix == TEXT_PREFIX and not module.startswith("text_model."):
                    module = f"text_model.{module}"  # some releases of transformers leave it out
                name = prefix + module.replace(".", "_")
                result[name + renamed] = value.half().contiguous()
                result[f"{name}.alpha"] = torch.tensor(alpha).half()
    return result


def metadata(*, name: str, rank: int, alpha: float, steps: int) -> dict[str, str]:
    """What kohya's trainer notes about a file, as far as A1111 shows it."""
    return {
        "ss_output_name": name,
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(alpha),
        "ss_base_model_version": "sd_v1",
        "ss_sd_model_name": "demo-sd15.safetensors",
        "ss_steps": str(steps),
        "ss_resolution": "(64, 64)",
    }
