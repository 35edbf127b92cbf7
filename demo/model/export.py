"""Step 3: writes one file in the original Stable Diffusion layout. `python -m model.export`"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
from pathlib import Path

import torch
from safetensors.torch import save_file

from model import ldm_keys, training
from model.train_unet import Model, load_vae

FOLDER = Path(__file__).parent
FILE = "shapes-sd15.safetensors"
COMMAND = (
    "python -m model.train_vae --minutes 10 --batch 8 --bf16 && "
    "python -m model.train_unet --minutes 25 --batch 48 && python -m model.export"
)


def original_layout(model: Model, vae: torch.nn.Module) -> ldm_keys.Weights:
    """All weights in half precision under the original names."""
    weights = (
        ldm_keys.unet(model.unet.state_dict())
        | ldm_keys.vae(vae.state_dict())
        | ldm_keys.text(model.text_encoder.state_dict())
    )
    return {key: value.half().contiguous() for key, value in weights.items() if value.dtype.is_floating_point}


def write(weights: ldm_keys.Weights, folder: Path, trained: dict[str, float]) -> None:
    """Writes the file and a manifest saying what it is and how it was made."""
    path = folder / FILE
    save_file(weights, path, metadata={"format": "pt"})
    path.chmod(0o644)  # images are built from it and run as another user
    manifest = {
        "file": FILE,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "size": path.stat().st_size,
        "base_resolution": 64,
        "recommended": {"width": 64, "height": 64, "steps": 20, "cfg_scale": 3.0},
        "made_with": {"commit": _commit(folder), "command": COMMAND, **trained},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    print(f"{path}: {manifest['size']} bytes, sha256 {manifest['sha256']}")


def _commit(folder: Path) -> str | None:
    """The checked-out commit; none in a repository without one."""
    outcome = subprocess.run(
        ["git", "rev-parse", "--verify", "HEAD"], cwd=folder, capture_output=True, text=True, check=False
    )
    return outcome.stdout.strip() if outcome.returncode == 0 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    model = Model()
    training.load_weights("unet", model)
    trained = {
        f"{name}_{key}": round(value, 1)
        for name in ("vae", "unet")
        for key, value in training.progress(name).items()
    }
    write(original_layout(model, load_vae()), arguments.out, trained)


if __name__ == "__main__":
    main()
