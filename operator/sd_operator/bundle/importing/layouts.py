"""Where A1111, ComfyUI and stable-diffusion-webui-docker keep models of which type.

One table serves all of them: their folders' names differ, and where they agree they mean the same type. The
docker project has had both `data/models/Lora` and `data/Lora`, and a volume often holds only the inside of
`models` or of `data`; so a folder is known by its own name below any of these bases. Names are compared
without case, as on the systems that many of these folders came from. Knows nothing of the files inside.
"""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from sd_modelfiles.kinds import ModelType
from sd_operator.bundle.importing.reporting import Report

EXTRA_PATHS = "extra_model_paths.yaml"
# A file of paths is a few lines; whatever is larger is something else.
_MAX_EXTRA_PATHS_BYTES = 256 * 1024

_TYPES = {
    "stable-diffusion": ModelType.CHECKPOINT,
    "stablediffusion": ModelType.CHECKPOINT,
    "checkpoints": ModelType.CHECKPOINT,
    "vae": ModelType.VAE,
    "lora": ModelType.LORA,
    "loras": ModelType.LORA,
    "lycoris": ModelType.LORA,
    "embeddings": ModelType.TEXTUAL_INVERSION,
    "hypernetworks": ModelType.HYPERNETWORK,
    "controlnet": ModelType.CONTROLNET,
    "t2i_adapter": ModelType.CONTROLNET,
    "upscale_models": ModelType.UPSCALER,
    "esrgan": ModelType.UPSCALER,
    "realesrgan": ModelType.UPSCALER,
    "bsrgan": ModelType.UPSCALER,
    "swinir": ModelType.UPSCALER,
    "scunet": ModelType.UPSCALER,
    "dat": ModelType.UPSCALER,
    "hat": ModelType.UPSCALER,
    "annotators": ModelType.ANNOTATOR,
    "controlnetpreprocessor": ModelType.ANNOTATOR,
}
_BASES = ("", "models", "data", "data/models")

_OF_EXTENSIONS = {
    "extensions/sd-webui-controlnet/models": ModelType.CONTROLNET,
    "extensions/sd-webui-controlnet/annotator/downloads": ModelType.ANNOTATOR,
    "extensions/sd-webui-additional-networks/models/lora": ModelType.LORA,
}
_EXTENSION_BASES = ("", "config/auto", "data/config/auto")

_OF_CUSTOM_NODES = {"custom_nodes/comfyui_controlnet_aux/ckpts": ModelType.ANNOTATOR}
_CUSTOM_NODE_BASES = ("", "config/comfy", "data/config/comfy")


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder whose files are probably of one type."""

    path: Path  # without symbolic links
    hint: ModelType


def find(root: Path, report: Report) -> list[ModelFolder]:
    """The folders of models below `root`, which has no symbolic links in its path; inner ones first."""
    found: dict[Path, ModelFolder] = {}
    for path, hint in [*_known(root), *_extra(root, report)]:
        folder = _inside(root, path, report)
        if folder is not None and folder not in found:
            found[folder] = ModelFolder(folder, hint)
    # A folder inside another one has its own word on what lies there.
    return sorted(found.values(), key=lambda each: (-len(each.path.parts), each.path))


def hint(folder: ModelFolder, name: str) -> ModelType:
    """What a file of the folder probably is: A1111 also takes a VAE that lies beside its checkpoint."""
    return ModelType.VAE if Path(name).stem.lower().endswith(".vae") else folder.hint


def unknown_folders(root: Path) -> list[Path]:
    """Folders of `models` that hold no type of file which a bundle can have."""
    return [
        folder
        for base in ("models", "data/models")
        for parent in _matching(root, base)
        for folder in _folders(parent)
        if folder.name.lower() not in _TYPES and not folder.name.startswith(".")
    ]


def _known(root: Path) -> Iterator[tuple[Path, ModelType]]:
    patterns = {
        **_below(_BASES, _TYPES),
        **_below(_EXTENSION_BASES, _OF_EXTENSIONS),
        **_below(_CUSTOM_NODE_BASES, _OF_CUSTOM_NODES),
    }
    for pattern, hint in patterns.items():
        for path in _matching(root, pattern):
            yield path, hint


def _below(bases: tuple[str, ...], folders: dict[str, ModelType]) -> dict[str, ModelType]:
    return {f"{base}/{name}": hint for base in bases for name, hint in folders.items()}


def _matching(root: Path, pattern: str) -> list[Path]:
    """The folders that a path of lower-case names means: several where names differ in case only."""
    paths = [root]
    for name in filter(None, pattern.split("/")):
        paths = [folder for path in paths for folder in _folders(path) if folder.name.lower() == name]
    return paths


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(entry for entry in path.iterdir() if entry.is_dir() or entry.is_symlink())
    except OSError:
        # Whoever walks the folder tells that it cannot be read.
        return []


def _inside(root: Path, path: Path, report: Report) -> Path | None:
    """The folder itself, without symbolic links, or None when there is none inside `root`."""
    try:
        real = path.resolve(strict=True)
    # RuntimeError is what Python 3.11 and 3.12 make of a loop.
    except (OSError, RuntimeError) as error:
        report.left_out(path, f"a link that leads nowhere ({_reason(error)})")
        return None
    if not real.is_relative_to(root):
        report.left_out(path, f"lies outside, at {real}; give that folder a run of its own")
        return None
    return real if real.is_dir() else None


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "a loop"


def _extra(root: Path, report: Report) -> Iterator[tuple[Path, ModelType]]:
    """The folders of ComfyUI's extra_model_paths.yaml."""
    path = root / EXTRA_PATHS
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_EXTRA_PATHS_BYTES:
            report.left_out(path, f"no file of at most {_MAX_EXTRA_PATHS_BYTES} bytes; not honoured")
            return
        document = yaml.safe_load(path.read_bytes())
    except FileNotFoundError:
        return
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        report.left_out(path, f"not honoured: {' '.join(str(error).split())[:300]}")
        return
    for section in document.values() if isinstance(document, dict) else ():
        if isinstance(section, dict):
            yield from _extra_section(root, section, report)


def _extra_section(
    root: Path, section: dict[object, object], report: Report
) -> Iterator[tuple[Path, ModelType]]:
    base = section.get("base_path")
    # What is not absolute begins where the file lies; the same for base_path, as in ComfyUI since 0.3.
    start = root / base if isinstance(base, str) else root
    for key, value in section.items():
        hint = _TYPES.get(key) if isinstance(key, str) else None
        if hint is None or not isinstance(value, str):
            continue
        for line in filter(None, (line.strip() for line in value.splitlines())):
            path = start / line
            if path.is_dir() or path.is_symlink():
                yield path, hint
            else:
                report.left_out(root / EXTRA_PATHS, f"{key}: {path} is no folder on this machine")
