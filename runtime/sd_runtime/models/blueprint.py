"""What a checkpoint says of its networks before a weight is read, and whether its parts fit each other.

What differs between families is in `CONVENTIONS` and in the functions named after them, of the modules that
read the two layouts (single_file.py, parts_folder.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sd_modelfiles.family import Family
from sd_runtime.errors import CheckpointError
from sd_runtime.models import layout
from sd_runtime.models.digests import DigestCache
from sd_runtime.models.layout import Config, Conventions
from sd_runtime.models.prediction import Prediction
from sd_runtime.models.reading import Place
from sd_runtime.models.text import TextEncoder
from sd_runtime.models.weights import Weights

CONVENTIONS = {
    Family.SD15: Conventions(unet_heads=8, unet_head_width=None, latent_scale=0.18215),
    Family.SD21: Conventions(unet_heads=None, unet_head_width=64, latent_scale=0.18215),
    # Two numbers each: its size as it was, where it was cropped, its size as it is to be.
    Family.SDXL: Conventions(unet_heads=None, unet_head_width=64, latent_scale=0.13025, told_numbers=6),
    # In place of the last two one, how well it is to be liked.
    Family.SDXL_REFINER: Conventions(
        unet_heads=None, unet_head_width=64, latent_scale=0.13025, told_numbers=5
    ),
}

#: Of SD 2's text encoder; files of tools that leave out the unused last one have one less.
OPEN_CLIP_LAYERS = 24

#: What further input channels, beside latents of 4, are known for.
_OTHER_INPUTS = {4: "instruct-pix2pix", 1: "depth"}


class Source(Protocol):
    """Where the tensors are."""

    def read(self, place: Place, digests: DigestCache) -> tuple[Weights, str]:
        """The tensors that `place` wants, as it wants them, and the SHA-256 of what was read."""
        ...

    def sizes(self) -> Mapping[str, int]:
        """How many numbers each tensor has."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """A network: how its tensors' names begin, the arguments of its class, and whether the names are LDM's,
    to be converted to diffusers'."""

    prefix: str
    config: Config
    convert: bool


@dataclass(frozen=True, slots=True)
class Texts:
    """The text encoders: how their tensors' names begin and which of these are not needed, and the width of
    what they make."""

    prefixes: tuple[str, ...]
    width: int
    build: Callable[[Weights], TextEncoder]
    unneeded: tuple[str, ...] = ()
    #: The width of the vector that stands for the whole text; 0: there is none.
    pooled: int = 0


@dataclass(frozen=True, slots=True)
class Blueprint:
    """Everything but the weights."""

    path: Path
    family: Family
    conventions: Conventions
    source: Source
    unet: Part
    vae: Part
    texts: Texts
    #: None: to be measured when the network is there.
    prediction: Prediction | None


def demand_agreement(unet: Config, vae: Config, texts: Texts, conventions: Conventions) -> None:
    """The parts must fit each other, or the first evaluation would fail instead of the load."""
    channels = vae["latent_channels"]
    extra = unet["in_channels"] - channels
    # An inpainting network is shown a mask and the latents of what stays.
    if extra not in (0, 1 + channels):
        known = f" ({_OTHER_INPUTS[extra]})" if extra in _OTHER_INPUTS else ""
        raise CheckpointError(
            f"the unet takes {unet['in_channels']} channels{known}; supported: {channels}, as the vae gives, "
            f"and {2 * channels + 1} (inpainting)"
        )
    if unet["cross_attention_dim"] != texts.width:
        raise CheckpointError(
            f"the unet reads a context {unet['cross_attention_dim']} wide,"
            f" the text encoder's is {texts.width} wide"
        )
    _demand_told_numbers(unet, texts, conventions)


def _demand_told_numbers(unet: Config, texts: Texts, conventions: Conventions) -> None:
    """What is told beside the time is the text's vector and the numbers, each as a vector of its own."""
    taken = unet.get("projection_class_embeddings_input_dim") or 0
    given = texts.pooled + conventions.told_numbers * (unet.get("addition_time_embed_dim") or 0)
    if taken != given:
        raise CheckpointError(
            f"the unet takes {taken} numbers beside the time;"
            f" this family's text encoder and sizes give {given}"
        )


def derive(
    prefix: str,
    by: Callable[[layout.Shapes, Conventions], Config],
    shapes: layout.Shapes,
    conventions: Conventions,
) -> Config:
    """A network's configuration from the shapes of its tensors; faults name the prefix."""
    below = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
    try:
        return by(below, conventions)
    except CheckpointError as error:
        raise CheckpointError(f"below {prefix}*: {error}") from error
