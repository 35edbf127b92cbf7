"""A checkpoint as a folder in diffusers' layout: which of its files are the weights of which part. Knows no
torch, and nothing of what is in the files."""

import re
from pathlib import Path

INDEX = "model_index.json"
UNET, VAE, TEXT, SECOND_TEXT = "unet", "vae", "text_encoder", "text_encoder_2"
PARTS = (UNET, VAE, TEXT, SECOND_TEXT)

_SHARD = r"(?:-\d{5}-of-\d{5})?"
# The weights as they are; else their half-precision variant, in either place that shards have been named.
_FILES = tuple(
    re.compile(rf"(?:diffusion_pytorch_model|model){pattern}\.safetensors")
    for pattern in (_SHARD, rf"(?:\.fp16{_SHARD}|{_SHARD}\.fp16)")
)


def weight_files(folder: Path, part: str) -> tuple[Path, ...]:
    """The safetensors files of a part, by name; none where there are only others. Raises OSError."""
    names = sorted(path.name for path in (folder / part).iterdir())
    for pattern in _FILES:
        found = tuple(folder / part / name for name in names if pattern.fullmatch(name))
        if found:
            return found
    return ()


def all_weight_files(folder: Path) -> tuple[Path, ...]:
    """Those of every part that is there. Raises OSError."""
    present = (part for part in PARTS if (folder / part).is_dir())
    return tuple(path for part in present for path in weight_files(folder, part))
