"""A checkpoint in diffusers' layout: a folder with model_index.json and a folder for each part, whose
config.json says how it is built. Only safetensors files are read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sd_modelfiles.family import Family
from sd_runtime.errors import CheckpointError, CheckpointUnavailable
from sd_runtime.models import parts, prediction, weights
from sd_runtime.models.blueprint import (
    CONVENTIONS,
    OPEN_CLIP_LAYERS,
    Blueprint,
    Part,
    Texts,
    demand_agreement,
)
from sd_runtime.models.diffusers_layout import INDEX, SECOND_TEXT, TEXT, UNET, VAE, weight_files
from sd_runtime.models.digests import DigestCache, digest_of_parts
from sd_runtime.models.layout import Config, Conventions
from sd_runtime.models.prediction import Prediction
from sd_runtime.models.reading import Place, Placement
from sd_runtime.models.text import ClipEncoder, ClipPairEncoder, OpenClipEncoder, PooledEncoder
from sd_runtime.models.weights import Weights, WeightsFile

_MOST_CONFIG_BYTES = 1024 * 1024
_TEXT_PARTS = {
    Family.SD15: (TEXT,),
    Family.SD21: (TEXT,),
    Family.SDXL: (TEXT, SECOND_TEXT),
    Family.SDXL_REFINER: (SECOND_TEXT,),
}


def examine(folder: Path) -> Blueprint:
    """Read and check configurations and headers; faults are `CheckpointError`s."""
    _demand_known_parts(folder, _read_json(folder / INDEX))
    kind = _family(folder)
    schedule = _read_json(folder / "scheduler" / "scheduler_config.json", optional=True)
    conventions = _conventions(CONVENTIONS[kind], schedule)
    files = {name: _files(folder, name) for name in (UNET, VAE, *_TEXT_PARTS[kind])}
    unet, vae = _network(folder, UNET, "UNet2DConditionModel"), _network(folder, VAE, "AutoencoderKL")
    vae.setdefault("scaling_factor", conventions.latent_scale)
    texts = _texts(folder, kind)
    demand_agreement(unet, vae, texts, conventions)
    return Blueprint(
        path=folder,
        family=kind,
        conventions=conventions,
        source=FolderFiles(folder, files),
        unet=Part(f"{UNET}/", unet, convert=False),
        vae=Part(f"{VAE}/", vae, convert=False),
        texts=texts,
        prediction=_prediction(schedule, kind),
    )


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The weights' files of each part; its tensors' names begin with the part's and a slash."""

    folder: Path
    files: Mapping[str, tuple[WeightsFile, ...]]

    def read(self, place: Place, digests: DigestCache) -> tuple[Weights, str]:
        """As `WeightsFile.read`; the digest is that of the list of files and digests."""
        found: Weights = {}
        read: dict[str, str] = {}
        for part, files in self.files.items():

            def place_in_part(name: str, part: str = part) -> Placement | None:
                return place(f"{part}/{name}")

            for file in files:
                with weights.naming(file.path):
                    tensors, sha256 = file.read(place_in_part, digests)
                found |= {f"{part}/{name}": value for name, value in tensors.items()}
                read[file.path.relative_to(self.folder).as_posix()] = sha256
        return found, digest_of_parts(read)

    def sizes(self) -> Mapping[str, int]:
        """As `WeightsFile.sizes`."""
        return {
            f"{part}/{name}": count
            for part, files in self.files.items()
            for file in files
            for name, count in file.sizes().items()
        }


def _demand_known_parts(folder: Path, index: Config) -> None:
    has_text = (folder / TEXT).is_dir()
    if not (folder / UNET).is_dir() or not (has_text or (folder / SECOND_TEXT).is_dir()):
        raise CheckpointError(
            f"{INDEX}: {index.get('_class_name')!r} is not supported; supported are folders of Stable "
            f"Diffusion 1 and 2 and of SDXL and its refiner, with the parts {UNET}, {VAE} and {TEXT} (of the "
            f"refiner {SECOND_TEXT})"
        )
    # Library and class of the part; of the refiner's folders null and null.
    named = index.get(TEXT)
    if not has_text and isinstance(named, list) and any(named):
        raise CheckpointUnavailable(f"{TEXT} is missing, which {INDEX} names")


def _family(folder: Path) -> Family:
    if (folder / SECOND_TEXT).is_dir():
        return Family.SDXL if (folder / TEXT).is_dir() else Family.SDXL_REFINER
    # OpenCLIP's models have the plain function, OpenAI's CLIP a quicker one.
    is_open_clip = _read_json(folder / TEXT / "config.json").get("hidden_act") == "gelu"
    return Family.SD21 if is_open_clip else Family.SD15


def _conventions(usual: Conventions, schedule: Config) -> Conventions:
    kind = schedule.get("beta_schedule", "scaled_linear")
    betas = schedule.get("beta_start", usual.beta_start), schedule.get("beta_end", usual.beta_end)
    if kind != "scaled_linear" or betas != (usual.beta_start, usual.beta_end):
        raise CheckpointError(
            f"scheduler_config.json: betas {kind} from {betas[0]} to {betas[1]} are not supported; "
            f"supported: scaled_linear from {usual.beta_start} to {usual.beta_end}"
        )
    return usual


def _prediction(schedule: Config, kind: Family) -> Prediction | None:
    words = schedule.get("prediction_type")
    if words is None:
        return None if kind is Family.SD21 else Prediction("epsilon", f"what {kind.value} predicts")
    return Prediction(
        prediction.kind_of(str(words), "scheduler_config.json"),
        "prediction_type in scheduler/scheduler_config.json",
        zero_terminal=schedule.get("rescale_betas_zero_snr") is True,
    )


def _network(folder: Path, part: str, wanted: str) -> Config:
    config = _read_json(folder / part / "config.json")
    if config.get("_class_name") != wanted:
        raise CheckpointError(
            f"{part}/config.json: {config.get('_class_name')!r} is not supported; supported: {wanted}"
        )
    return {name: value for name, value in config.items() if not name.startswith("_")}


def _texts(folder: Path, kind: Family) -> Texts:
    if kind is Family.SDXL:
        return _sdxl_texts(folder)
    return _refiner_texts(folder) if kind is Family.SDXL_REFINER else _single_text(folder, kind)


def _single_text(folder: Path, kind: Family) -> Texts:
    config = _text_config(folder, TEXT, pads_with_zero=kind is Family.SD21)

    def build(tensors: Weights) -> ClipEncoder | OpenClipEncoder:
        network = parts.build_clip(f"{TEXT}/", config, tensors)
        if kind is Family.SD21:
            return OpenClipEncoder(network, has_last_layer=config["num_hidden_layers"] == OPEN_CLIP_LAYERS)
        return ClipEncoder(network)

    return Texts((f"{TEXT}/",), config["hidden_size"], build)


def _sdxl_texts(folder: Path) -> Texts:
    first = _text_config(folder, TEXT, pads_with_zero=False)
    second = _text_config(folder, SECOND_TEXT, pads_with_zero=True)
    return Texts(
        (f"{TEXT}/", f"{SECOND_TEXT}/"),
        first["hidden_size"] + second["hidden_size"],
        lambda tensors: ClipPairEncoder(
            parts.build_clip(f"{TEXT}/", first, tensors),
            parts.build_clip_with_projection(f"{SECOND_TEXT}/", second, tensors),
        ),
        pooled=_projection(second),
    )


def _refiner_texts(folder: Path) -> Texts:
    config = _text_config(folder, SECOND_TEXT, pads_with_zero=True)
    return Texts(
        (f"{SECOND_TEXT}/",),
        config["hidden_size"],
        lambda tensors: PooledEncoder(parts.build_clip_with_projection(f"{SECOND_TEXT}/", config, tensors)),
        pooled=_projection(config),
    )


def _text_config(folder: Path, part: str, *, pads_with_zero: bool) -> Config:
    config = _read_json(folder / part / "config.json")
    for name in ("vocab_size", "hidden_size", "num_hidden_layers"):
        if type(config.get(name)) is not int:
            raise CheckpointError(f"{part}/config.json: {name} is {config.get(name)!r}; a number is needed")
    end = config["vocab_size"] - 1
    # The published files tell other numbers, which nothing has ever used.
    marks = {"bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": 0 if pads_with_zero else end}
    return {**config, **marks}


def _projection(config: Config) -> int:
    """The width of the vector that stands for the whole text."""
    width = config.get("projection_dim")
    if type(width) is not int:
        raise CheckpointError(f"{SECOND_TEXT}/config.json: projection_dim is {width!r}; a number is needed")
    return width


def _files(folder: Path, part: str) -> tuple[WeightsFile, ...]:
    try:
        paths = weight_files(folder, part)
        present = sorted(path.name for path in (folder / part).iterdir())
    except OSError as error:
        raise CheckpointUnavailable(f"{part}: cannot be read: {error.strerror}") from error
    if not paths:
        raise CheckpointError(
            f"{part}: no file of weights named as diffusers does (model.safetensors or "
            f"diffusion_pytorch_model.safetensors); there is {', '.join(present[:5]) or 'nothing'}"
        )
    return tuple(_open(path) for path in paths)


def _open(path: Path) -> WeightsFile:
    with weights.naming(path):
        return weights.open_file(path, allow_pickles=False)


def _read_json(path: Path, *, optional: bool = False) -> dict[str, Any]:
    shown = f"{path.parent.name}/{path.name}"
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(_MOST_CONFIG_BYTES))
    except FileNotFoundError as error:
        if optional:
            return {}
        raise CheckpointUnavailable(f"{shown} is missing") from error
    except OSError as error:
        raise CheckpointUnavailable(f"{shown}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{shown}: not JSON: {str(error)[:200]}") from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{shown}: not an object")
    return document
