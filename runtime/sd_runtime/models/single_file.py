"""A checkpoint in one file, with LDM's names, as people exchange them. Its configuration comes from the
shapes of its own tensors."""

from functools import partial
from pathlib import Path

from sd_modelfiles import family
from sd_modelfiles.family import Family
from sd_runtime.errors import CheckpointError
from sd_runtime.models import layout, parts, prediction, weights
from sd_runtime.models.blueprint import (
    CONVENTIONS,
    OPEN_CLIP_LAYERS,
    Blueprint,
    Part,
    Texts,
    demand_agreement,
    derive,
)
from sd_runtime.models.layout import Conventions, Shapes
from sd_runtime.models.text import ClipEncoder, ClipPairEncoder, OpenClipEncoder, PooledEncoder

SD15_TEXT = "cond_stage_model.transformer.text_model."
# Before CLIP's text half became a model of its own.
SD15_OLD_TEXT = "cond_stage_model.transformer."
SD21_TEXT = "cond_stage_model.model."
SDXL_FIRST_TEXT = "conditioner.embedders.0.transformer.text_model."
SDXL_SECOND_TEXT = "conditioner.embedders.1.model."
REFINER_TEXT = "conditioner.embedders.0.model."


def examine(path: Path, *, allow_pickles: bool) -> Blueprint:
    """Read and check the header alone; faults are `CheckpointError`s."""
    file = weights.open_file(path, allow_pickles=allow_pickles)
    try:
        kind = family.detect(file.header)
    except family.FamilyUnknown as error:
        raise CheckpointError(str(error)) from error
    conventions = CONVENTIONS[kind]
    shapes = {name: info.shape for name, info in file.header.tensors.items()}
    unet = derive(parts.UNET, layout.unet_config, shapes, conventions)
    vae = derive(parts.VAE, layout.vae_config, shapes, conventions)
    texts = _TEXTS[kind](shapes, conventions)
    demand_agreement(unet, vae, texts, conventions)
    return Blueprint(
        path=path,
        family=kind,
        conventions=conventions,
        source=file,
        unet=Part(parts.UNET, unet, convert=True),
        vae=Part(parts.VAE, vae, convert=True),
        texts=texts,
        prediction=prediction.told(path, file.header, kind),
    )


def _sd15_texts(shapes: Shapes, conventions: Conventions) -> Texts:
    prefix = SD15_TEXT if any(name.startswith(SD15_TEXT) for name in shapes) else SD15_OLD_TEXT
    config = derive(prefix, layout.clip_config, shapes, conventions)
    return Texts(
        (prefix,),
        config["hidden_size"],
        lambda tensors: ClipEncoder(parts.build_clip(prefix, config, tensors)),
    )


def _sd21_texts(shapes: Shapes, conventions: Conventions) -> Texts:
    if not any(name.startswith(SD21_TEXT) for name in shapes):
        return _sd21_texts_of_transformers(shapes, conventions)
    config = derive(SD21_TEXT, layout.open_clip_config, shapes, conventions)
    # What is attended to is the state before the last layer, so that one needs no room.
    last = config["num_hidden_layers"] - 1
    config = {**config, "num_hidden_layers": last}
    return Texts(
        (SD21_TEXT,),
        config["hidden_size"],
        lambda tensors: OpenClipEncoder(
            parts.build_open_clip_states(SD21_TEXT, config, tensors), has_last_layer=False
        ),
        unneeded=(f"{SD21_TEXT}transformer.resblocks.{last}.", f"{SD21_TEXT}text_projection"),
    )


def _sd21_texts_of_transformers(shapes: Shapes, conventions: Conventions) -> Texts:
    """Under the names of transformers, as tools that know no other ones write them."""
    by = partial(layout.clip_config, activation="gelu")
    config = derive(SD15_TEXT, by, shapes, conventions) | {"pad_token_id": 0}
    return Texts(
        (SD15_TEXT,),
        config["hidden_size"],
        lambda tensors: OpenClipEncoder(
            parts.build_clip(SD15_TEXT, config, tensors),
            has_last_layer=config["num_hidden_layers"] == OPEN_CLIP_LAYERS,
        ),
    )


def _sdxl_texts(shapes: Shapes, conventions: Conventions) -> Texts:
    first = derive(SDXL_FIRST_TEXT, layout.clip_config, shapes, conventions)
    second = derive(SDXL_SECOND_TEXT, layout.open_clip_config, shapes, conventions)
    return Texts(
        (SDXL_FIRST_TEXT, SDXL_SECOND_TEXT),
        first["hidden_size"] + second["hidden_size"],
        lambda tensors: ClipPairEncoder(
            parts.build_clip(SDXL_FIRST_TEXT, first, tensors),
            parts.build_open_clip(SDXL_SECOND_TEXT, second, tensors),
        ),
        pooled=second["projection_dim"],
    )


def _refiner_texts(shapes: Shapes, conventions: Conventions) -> Texts:
    config = derive(REFINER_TEXT, layout.open_clip_config, shapes, conventions)
    return Texts(
        (REFINER_TEXT,),
        config["hidden_size"],
        lambda tensors: PooledEncoder(parts.build_open_clip(REFINER_TEXT, config, tensors)),
        pooled=config["projection_dim"],
    )


_TEXTS = {
    Family.SD15: _sd15_texts,
    Family.SD21: _sd21_texts,
    Family.SDXL: _sdxl_texts,
    Family.SDXL_REFINER: _refiner_texts,
}
