"""A single-file checkpoint to a `Model`, offline: configurations come from the file itself.

The tensors are read once, each cast and placed as it arrives, so that the peak stays near the size of the
loaded weights. What differs between families is in `CONVENTIONS` and in the functions named after them.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sd_modelfiles import family, header
from sd_modelfiles.family import Family
from sd_runtime.device import Device
from sd_runtime.errors import CheckpointError, CheckpointUnavailable
from sd_runtime.models import LoadedCheckpoint, discrete, layout, libraries, parts
from sd_runtime.models.network import Model
from sd_runtime.models.reading import DigestCache, Placement, read_weights
from sd_runtime.models.text import ClipEncoder, ClipPairEncoder, TextEncoder

logger = logging.getLogger(__name__)

TOKENIZER_DIR = Path(__file__).parent / "configs" / "clip_tokenizer"

SD15_TEXT = "cond_stage_model.transformer.text_model."
# Before CLIP's text half became a model of its own.
SD15_OLD_TEXT = "cond_stage_model.transformer."
SDXL_FIRST_TEXT = "conditioner.embedders.0.transformer.text_model."
SDXL_SECOND_TEXT = "conditioner.embedders.1.model."

CONVENTIONS = {
    Family.SD15: layout.Conventions(unet_heads=8, unet_head_width=None, latent_scale=0.18215),
    Family.SDXL: layout.Conventions(unet_heads=None, unet_head_width=64, latent_scale=0.13025),
}

BuildText = Callable[[parts.Weights], TextEncoder]


@dataclass(frozen=True, slots=True)
class _Texts:
    """A family's text encoders before their tensors are read."""

    prefixes: tuple[str, ...]
    width: int
    build: BuildText


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What a file's header says of the networks in it: everything but the weights."""

    path: Path
    head: header.Header
    kind: Family
    conventions: layout.Conventions
    unet: layout.Config
    vae: layout.Config
    texts: _Texts


def load(
    path: Path,
    device: Device,
    digests: DigestCache,
    *,
    sha256: str | None = None,
    between: Callable[[], None] = lambda: None,
) -> Model:
    """`examine` and `build` in one."""
    return build(examine(path), device, digests, sha256=sha256, between=between)


def examine(path: Path) -> Blueprint:
    """Read and check the header alone, which takes no memory; every fault of the file is a `CheckpointError`
    that begins with its name."""
    with _naming(path):
        return _examine(path)


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
    with _naming(blueprint.path):
        return _build(blueprint, device, digests, sha256, between)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except CheckpointError as error:
        raise type(error)(f"{path.name}: {error}") from error


def _examine(path: Path) -> Blueprint:
    head, kind = _inspect(path)
    conventions = CONVENTIONS[kind]
    shapes = {name: info.shape for name, info in head.tensors.items()}
    unet_config = _derive(parts.UNET, layout.unet_config, shapes, conventions)
    vae_config = _derive(parts.VAE, layout.vae_config, shapes, conventions)
    texts = _sdxl_texts(shapes, conventions) if kind is Family.SDXL else _sd15_texts(shapes, conventions)
    _demand_agreement(unet_config, vae_config, texts)
    return Blueprint(path, head, kind, conventions, unet_config, vae_config, texts)


def _build(
    blueprint: Blueprint,
    device: Device,
    digests: DigestCache,
    wanted_sha256: str | None,
    between: Callable[[], None],
) -> Model:
    path, kind, texts, conventions = blueprint.path, blueprint.kind, blueprint.texts, blueprint.conventions

    def place(name: str) -> Placement | None:
        between()
        if name.startswith(parts.VAE):
            return Placement(device.handle, device.decoder_dtype)
        wanted = name.startswith((parts.UNET, *texts.prefixes))
        if not wanted or name.endswith((parts.POSITION_IDS, parts.LOGIT_SCALE)):
            return None
        return Placement(device.handle, device.dtype)

    weights, sha256 = read_weights(path, blueprint.head, place, digests)
    if wanted_sha256 not in (None, sha256):
        raise CheckpointUnavailable(f"the SHA-256 of its bytes is {sha256}, and {wanted_sha256} is wanted")
    unet = parts.build_unet(blueprint.unet, weights)
    vae = parts.build_vae(blueprint.vae, weights)
    text = texts.build(weights)
    logger.info("loaded %s: %s, sha256 %s", path.name, kind.value, sha256)
    return Model(
        loaded=LoadedCheckpoint(
            path=path, sha256=sha256, family=kind.value, device=device.info, text_layers=text.layers
        ),
        device=device,
        unet=unet,
        vae=vae,
        text=text,
        tokenizer=libraries.ClipTokenizer.from_pretrained(TOKENIZER_DIR, local_files_only=True),
        discrete=discrete.scaled_linear(start=conventions.beta_start, end=conventions.beta_end),
        latent_channels=vae.config.latent_channels,
        latent_stride=2 ** (len(vae.config.block_out_channels) - 1),
        latent_scale=conventions.latent_scale,
    )


def _inspect(path: Path) -> tuple[header.Header, Family]:
    try:
        head = header.read(path)
        kind = family.detect(head)
    except OSError as error:
        raise CheckpointUnavailable(f"cannot be read: {error.strerror}") from error
    except (header.HeaderError, family.FamilyUnknown) as error:
        raise CheckpointError(str(error)) from error
    if kind not in CONVENTIONS:
        supported = ", ".join(known.value for known in CONVENTIONS)
        raise CheckpointError(f"the family {kind.value} is not supported; supported: {supported}")
    return head, kind


def _sd15_texts(shapes: layout.Shapes, conventions: layout.Conventions) -> _Texts:
    prefix = SD15_TEXT if any(name.startswith(SD15_TEXT) for name in shapes) else SD15_OLD_TEXT
    config = _derive(prefix, layout.clip_config, shapes, conventions)
    return _Texts(
        (prefix,),
        config["hidden_size"],
        lambda weights: ClipEncoder(parts.build_clip(prefix, config, weights)),
    )


def _sdxl_texts(shapes: layout.Shapes, conventions: layout.Conventions) -> _Texts:
    first = _derive(SDXL_FIRST_TEXT, layout.clip_config, shapes, conventions)
    second = _derive(SDXL_SECOND_TEXT, layout.open_clip_config, shapes, conventions)
    return _Texts(
        (SDXL_FIRST_TEXT, SDXL_SECOND_TEXT),
        first["hidden_size"] + second["hidden_size"],
        lambda weights: ClipPairEncoder(
            parts.build_clip(SDXL_FIRST_TEXT, first, weights),
            parts.build_open_clip(SDXL_SECOND_TEXT, second, weights),
        ),
    )


def _derive(
    prefix: str,
    derive: Callable[[layout.Shapes, layout.Conventions], layout.Config],
    shapes: layout.Shapes,
    conventions: layout.Conventions,
) -> layout.Config:
    below = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
    try:
        return derive(below, conventions)
    except CheckpointError as error:
        raise CheckpointError(f"below {prefix}*: {error}") from error


def _demand_agreement(unet: layout.Config, vae: layout.Config, texts: _Texts) -> None:
    """The parts must fit each other, or the first evaluation would fail instead of the load."""
    if unet["in_channels"] != vae["latent_channels"]:
        raise CheckpointError(
            f"the unet takes {unet['in_channels']} channels and the vae gives {vae['latent_channels']}:"
            " an inpainting or otherwise conditioned checkpoint, which is not supported"
        )
    if unet["cross_attention_dim"] != texts.width:
        raise CheckpointError(
            f"the unet reads a context {unet['cross_attention_dim']} wide,"
            f" the text encoder's is {texts.width} wide"
        )
