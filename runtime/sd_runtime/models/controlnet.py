"""ControlNets: single files to networks, and what one of them says of a map.

A ControlNet (Zhang et al. 2023, arXiv:2302.05543) is a copy of the U-Net's way down and middle that also
sees a control map; what it makes of it is added to what the U-Net hands on to its way up. Its configuration
is read off its own tensors, in LDM's layout (`control_model.*`, or without the prefix) or diffusers'. Knows
nothing of weights, steps and neighbours.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sd_modelfiles import controlnet, family
from sd_modelfiles.family import Family
from sd_modelfiles.header import Header
from sd_modelfiles.kinds import ModelType
from sd_runtime.device import Device
from sd_runtime.errors import CheckpointError, UnsupportedError
from sd_runtime.models import layout, parts, weights
from sd_runtime.models.blueprint import CONVENTIONS
from sd_runtime.models.digests import DigestCache
from sd_runtime.models.layout import Config
from sd_runtime.models.reading import Placement
from sd_runtime.models.weights import WeightsFile
from sd_runtime.models.wrapping import Wrapping

if TYPE_CHECKING:
    from sd_runtime.models.network import Model

logger = logging.getLogger(__name__)

_PREFIX = "control_model."
_RGB = 3
#: Pixels of a map on a side of a latent.
_STRIDE = 8
#: Of the U-Net's and the ControlNet's configurations, what must be the same for one to steer the other.
_COMMON = (
    "block_out_channels",
    "down_block_types",
    "layers_per_block",
    "transformer_layers_per_block",
    "cross_attention_dim",
    "projection_class_embeddings_input_dim",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything but the weights: what a file's header says of its network."""

    file: WeightsFile
    family: Family
    config: Config
    #: How the tensors' names begin, and whether they are LDM's.
    prefix: str
    convert: bool

    def footprint(self, device: Device) -> int:
        """Bytes that the network will take on this device."""
        sizes = self.file.sizes().items()
        return sum(count for name, count in sizes if name.startswith(self.prefix)) * device.dtype.itemsize


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ControlNet:
    """A network on the device."""

    path: Path
    family: Family
    config: Config
    #: diffusers' `ControlNetModel`, but for what the map goes through first.
    network: Any
    #: That: (B, 3, H, W) to the width of the network's first level, at the size of latents.
    embedding: Any
    #: Whether what it says of a map is the same all over the picture (its average), and for the prompt alone.
    pools: bool
    nbytes: int
    _wrapping: Wrapping = field(init=False)
    _embedding_wrapping: Wrapping = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_wrapping", Wrapping(self.network))
        object.__setattr__(self, "_embedding_wrapping", Wrapping(self.embedding))

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.embedding.conv_in.weight.device  # type: ignore[no-any-return]

    def embed(self, map_: torch.Tensor, *, tiling: bool) -> torch.Tensor:
        """What the network sees of a map: (1, 3, 8H, 8W), 0 to 1 -> (1, C, H, W). The same at every step."""
        with self._embedding_wrapping.on(tiling):
            embedded: torch.Tensor = self.embedding(map_.to(self.network.dtype))
        return embedded

    def say(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        context: torch.Tensor,
        told: Mapping[str, torch.Tensor] | None,
        embedded: torch.Tensor,
        *,
        tiling: bool,
    ) -> list[torch.Tensor]:
        """What it adds for each row on each level of the way down, finest first, and in the middle:
        (B, 4, H, W), (B,), (B, L, D), (B, C, H, W) -> each (B, C_i, H_i, W_i)."""
        with self._wrapping.on(tiling):
            down, middle = self.network(
                latents,
                timesteps,
                encoder_hidden_states=context,
                controlnet_cond=embedded,
                added_cond_kwargs=told,
                return_dict=False,
            )
        return [*down, middle]


def examine(path: Path, model: "Model", *, allow_pickles: bool) -> Plan:
    """What the header says. Raises `CheckpointError` where the file is no ControlNet that is served, and
    `UnsupportedError` where it is one for other checkpoints than the model."""
    with weights.naming(path):
        file = weights.open_file(path, allow_pickles=allow_pickles)
        _refuse_others(file.header)
        plan = _plan(file, _family(path, file.header, model))
        _demand_map(plan.config)
    demand_fit(path, plan.family, plan.config, model)
    return plan


def load(plan: Plan, device: Device, digests: DigestCache) -> ControlNet:
    """The network on the device; faults of its tensors are `CheckpointError`s."""
    path, wanted = plan.file.path, Placement(device.handle, device.dtype)
    with weights.naming(path):
        tensors, sha256 = plan.file.read(
            lambda name: wanted if name.startswith(plan.prefix) else None, digests
        )
        network = device.settle(
            parts.build_controlnet(plan.config, tensors, prefix=plan.prefix, convert=plan.convert)
        )
    nbytes = sum(value.nbytes for value in network.parameters())
    # A map stays the same for a whole pass, and so does what the first part makes of it.
    embedding, network.controlnet_cond_embedding = network.controlnet_cond_embedding, torch.nn.Identity()
    logger.info("loaded ControlNet %s: %s, %d MiB, sha256 %s", path.name, plan.family, nbytes >> 20, sha256)
    return ControlNet(
        path=path,
        family=plan.family,
        config=plan.config,
        network=network,
        embedding=embedding,
        pools=pools(path),
        nbytes=nbytes,
    )


def pools(path: Path) -> bool:
    """Whether the file's network is of the kind whose word is the same all over the picture. No tensor tells;
    the name does, as in sd-webui-controlnet."""
    return "shuffle" in path.stem.lower()


def _refuse_others(header: Header) -> None:
    variant = controlnet.variant(header)
    if variant is None:
        raise CheckpointError("no ControlNet: none of its tensors are named as one's")
    if variant != controlnet.CONTROLNET:
        raise CheckpointError(f"a {variant} is not served; allowed are ControlNets")
    peculiarity = controlnet.peculiarity(header)
    if peculiarity is not None:
        raise CheckpointError(
            f"a ControlNet of the kind {peculiarity!r} is not served; allowed are plain ones"
        )


def _family(path: Path, header: Header, model: "Model") -> Family:
    """The family that it is for: the tensors', or the model's where these do not tell (small ones)."""
    shown = family.shown(header, ModelType.CONTROLNET)
    wanted = Family(model.loaded.family)
    found = shown.family or shown.other or wanted
    if found != wanted:
        raise _unfit(path, str(found), model)
    return wanted


def _unfit(path: Path, what: str, model: "Model", like: str = "") -> UnsupportedError:
    allowed = (
        f"ControlNets for {model.loaded.family}, the family of the checkpoint {model.loaded.path.stem}{like}"
    )
    return UnsupportedError("model", f"{path.stem} ({what})", allowed)


def _plan(file: WeightsFile, kind: Family) -> Plan:
    names = file.header.tensors
    prefix = _PREFIX if any(name.startswith(_PREFIX) for name in names) else ""
    shapes = {
        name.removeprefix(prefix): info.shape for name, info in names.items() if name.startswith(prefix)
    }
    convert = "time_embedding.linear_1.weight" not in shapes
    by = layout.controlnet_config if convert else layout.diffusers_controlnet_config
    return Plan(file, kind, by(shapes, CONVENTIONS[kind]), prefix, convert)


def _demand_map(config: Config) -> None:
    channels, steps = config["conditioning_channels"], config["conditioning_embedding_out_channels"]
    if channels != _RGB:
        raise CheckpointError(f"its map has {channels} channels; allowed are ControlNets for maps of {_RGB}")
    if 2 ** (len(steps) - 1) != _STRIDE:
        raise CheckpointError(
            f"it makes its map {2 ** (len(steps) - 1)} times as small; latents are {_STRIDE} times as small"
        )


def demand_fit(path: Path, kind: Family, config: Config, model: "Model") -> None:
    """Raises `UnsupportedError` where a network of this family and configuration cannot steer the model's: it
    names both families, and of one family (small models have many sizes) what is different."""
    if kind != model.loaded.family:
        raise _unfit(path, kind.value, model)
    ours, levels = model.unet.config, len(config["block_out_channels"])
    for name in _COMMON:
        there, here = config.get(name), getattr(ours, name, None)
        if _comparable(there, levels) != _comparable(here, levels):
            raise _unfit(path, f"its {name} is {there}", model, f", whose {name} is {here}")
    if config["in_channels"] != model.latent_channels:
        raise _unfit(path, f"for latents of {config['in_channels']} channels", model)


def _comparable(value: object, levels: int) -> object:
    """Configurations may have one number that stands for all levels."""
    if isinstance(value, int):
        return (value,) * levels
    return tuple(value) if isinstance(value, list) else value
