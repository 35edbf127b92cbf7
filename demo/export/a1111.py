"""Files that only A1111 invented: textual inversion embeddings and hypernetworks, as pickles with its keys.

Pure: tensors in, what `torch.save` or `save_file` takes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

BASE_NAME = "demo-sd15"
_PLACEHOLDER_TOKEN = 265  # of "*", which A1111 writes whatever the name


def embedding_pickle(name: str, vectors: torch.Tensor, *, steps: int) -> dict[str, Any]:
    """An embedding's `.pt`."""
    return {
        "string_to_token": {"*": _PLACEHOLDER_TOKEN},
        "string_to_param": {"*": vectors.clone()},
        "name": name,
        "step": steps,
        "sd_checkpoint": None,
        "sd_checkpoint_name": BASE_NAME,
    }


def embedding_safetensors(vectors: torch.Tensor) -> dict[str, torch.Tensor]:
    """The same embedding's `.safetensors`."""
    return {"emb_params": vectors.clone().contiguous()}


def hypernetwork_pickle(
    name: str,
    width: int,
    pair: tuple[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]],
    *,
    structure: tuple[int, ...],
    steps: int,
) -> dict[int | str, Any]:
    """A hypernetwork's `.pt`: the state dicts for keys and values stand under the width they are for."""
    return {
        width: [{key: value.clone() for key, value in part.items()} for part in pair],
        "step": steps,
        "name": name,
        "layer_structure": list(structure),
        "activation_func": "relu",
        "is_layer_norm": False,
        "weight_initialization": "Normal",
        "use_dropout": False,
        "dropout_structure": [0.0] * len(structure),
        "last_layer_dropout": False,
        "activate_output": False,
        "sd_checkpoint": None,
        "sd_checkpoint_name": BASE_NAME,
        "optional_info": None,
    }
