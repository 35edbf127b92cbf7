"""Where a file lies on a volume: A1111's folders, so that A1111 and ComfyUI can use the same volume."""

from pathlib import PurePosixPath

from sd_modelfiles.kinds import ModelType

# Everything of the operator's own (manifest, locks, partial downloads) is below this folder of a volume.
OWN_FOLDER = PurePosixPath(".sd-operator")

_FOLDERS = {
    ModelType.CHECKPOINT: PurePosixPath("models/Stable-diffusion"),
    ModelType.VAE: PurePosixPath("models/VAE"),
    ModelType.LORA: PurePosixPath("models/Lora"),
    ModelType.TEXTUAL_INVERSION: PurePosixPath("embeddings"),
    ModelType.HYPERNETWORK: PurePosixPath("models/hypernetworks"),
    ModelType.CONTROLNET: PurePosixPath("models/ControlNet"),
    ModelType.UPSCALER: PurePosixPath("models/ESRGAN"),
    ModelType.ANNOTATOR: PurePosixPath("models/Annotators"),
}


def folder_of(model_type: ModelType) -> PurePosixPath:
    """The folder of a type, relative to the root of the volume."""
    return _FOLDERS[model_type]


def path_of(model_type: ModelType, file_name: str) -> PurePosixPath:
    """The path of a file, relative to the root of the volume."""
    if not file_name or "/" in file_name or "\0" in file_name or file_name.startswith("."):
        raise ValueError(f"file name {file_name!r} must be a plain name that does not begin with a dot")
    return folder_of(model_type) / file_name
