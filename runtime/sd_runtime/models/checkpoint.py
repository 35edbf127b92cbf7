"""A checkpoint to a `Model`, offline: a single file, whose configuration comes from the file itself, or a
folder in diffusers' layout.

The tensors are read once, each cast and placed as it arrives, so that the peak stays near the size of the
loaded weights.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sd_runtime.device import Device
from sd_runtime.errors import CheckpointUnavailable
from sd_runtime.models import (
    LoadedCheckpoint,
    discrete,
    libraries,
    parts,
    parts_folder,
    prediction,
    single_file,
)
from sd_runtime.models.blueprint import Blueprint
from sd_runtime.models.digests import DigestCache
from sd_runtime.models.network import Model
from sd_runtime.models.prediction import Prediction
from sd_runtime.models.reading import Place, Placement
from sd_runtime.models.text import TextEncoder
from sd_runtime.models.vae import Vae
from sd_runtime.models.weights import naming

logger = logging.getLogger(__name__)

TOKENIZER_DIR = Path(__file__).parent / "configs" / "clip_tokenizer"


def load(
    path: Path,
    device: Device,
    digests: DigestCache,
    *,
    sha256: str | None = None,
    between: Callable[[], None] = lambda: None,
    allow_pickles: bool = False,
) -> Model:
    """`examine` and `build` in one."""
    blueprint = examine(path, allow_pickles=allow_pickles)
    return build(blueprint, device, digests, sha256=sha256, between=between)


def examine(path: Path, *, allow_pickles: bool = False) -> Blueprint:
    """Read and check headers and configurations alone, which takes no memory; every fault of the file is a
    `CheckpointError` that begins with its name. A pickle is one unless `allow_pickles`."""
    with naming(path):
        if path.is_dir():
            return parts_folder.examine(path)
        return single_file.examine(path, allow_pickles=allow_pickles)


def build(
    blueprint: Blueprint,
    device: Device,
    digests: DigestCache,
    *,
    sha256: str | None = None,
    between: Callable[[], None] = lambda: None,
) -> Model:
    """Read the weights and make the networks; faults as in `examine`, one of them being another digest than
    the one given.

    `between` is called before each tensor, and ends the load by raising.
    """
    with naming(blueprint.path):
        return _build(blueprint, device, digests, sha256, between)


def footprint(blueprint: Blueprint, device: Device) -> int:
    """Bytes that the networks will take on this device."""
    place = _place(blueprint, device, lambda: None)
    total = 0
    for name, count in blueprint.source.sizes().items():
        placement = place(name)
        if placement is not None:
            total += count * (placement.dtype or device.dtype).itemsize
    return total


def _build(
    blueprint: Blueprint,
    device: Device,
    digests: DigestCache,
    wanted_sha256: str | None,
    between: Callable[[], None],
) -> Model:
    place = _place(blueprint, device, between)
    weights, sha256 = blueprint.source.read(place, digests)
    if wanted_sha256 not in (None, sha256):
        raise CheckpointUnavailable(f"the SHA-256 of its bytes is {sha256}, and {wanted_sha256} is wanted")
    unet, vae = (
        device.settle(build(part.config, weights, prefix=part.prefix, convert=part.convert))
        for build, part in ((parts.build_unet, blueprint.unet), (parts.build_vae, blueprint.vae))
    )
    device.compile(unet)
    text = blueprint.texts.build(weights)
    told = blueprint.prediction
    model = Model(
        loaded=LoadedCheckpoint(
            path=blueprint.path,
            sha256=sha256,
            family=blueprint.family.value,
            device=device.info,
            text_layers=text.layers,
            text_widths=text.widths,
            bytes=sum(map(_bytes_of, (unet, vae, *_networks(text)))),
        ),
        device=device,
        unet=unet,
        autoencoder=Vae(vae, scale=blueprint.vae.config["scaling_factor"], device=device),
        text=text,
        tokenizer=libraries.ClipTokenizer.from_pretrained(TOKENIZER_DIR, local_files_only=True),
        discrete=discrete.scaled_linear(
            start=blueprint.conventions.beta_start,
            end=blueprint.conventions.beta_end,
            zero_terminal=told is not None and told.kind == "v" and told.zero_terminal,
        ),
    )
    return _with(model, told or prediction.measured(model))


def _with(model: Model, known: Prediction) -> Model:
    loaded = replace(model.loaded, prediction=known.kind, prediction_reason=known.reason)
    logger.info(
        "loaded %s: %s, %s prediction (%s), %d MiB, sha256 %s",
        loaded.path.name,
        loaded.family,
        known.kind,
        known.reason,
        loaded.bytes >> 20,
        loaded.sha256,
    )
    return replace(model, loaded=loaded)


def _place(blueprint: Blueprint, device: Device, between: Callable[[], None]) -> Place:
    vae, unet, texts = blueprint.vae.prefix, blueprint.unet.prefix, blueprint.texts

    def place(name: str) -> Placement | None:
        between()
        if name.startswith(vae):
            return Placement(device.handle, device.decoder_dtype)
        wanted = name.startswith((unet, *texts.prefixes)) and not name.startswith(texts.unneeded)
        if not wanted or name.endswith((parts.POSITION_IDS, parts.LOGIT_SCALE)):
            return None
        return Placement(device.handle, device.dtype)

    return place


def _networks(text: TextEncoder) -> list[Any]:
    return [network for name in ("network", "first", "second") if (network := getattr(text, name, None))]


def _bytes_of(network: Any) -> int:
    return sum(value.nbytes for value in network.parameters())
