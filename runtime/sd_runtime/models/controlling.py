"""What ControlNets add to a call of the denoising network, row by row.

Each network runs once for all rows that have a use for it; what it says is weighed for each row and layer,
confined to where it has an effect, and added up, zeros for the other rows. Knows neither tasks nor steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from sd_modelfiles.family import Family
from sd_runtime.models.controlnet import ControlNet
from sd_runtime.models.vae import Pixels

Grey = npt.NDArray[np.uint8]  # (height, width)

#: Of the soft weights: from a layer to the next one towards the middle of the network.
_SOFTER = 0.825
#: By so many layers fewer than Stable Diffusion 1's SDXL's ControlNets have; their weights are the first
#: of the same row (sd-webui-controlnet's), and so the middle's is not 1.
_SDXL_MISSING = 3
_WHITE = 255


class ControlMap:
    """A control map for one pass, with where it has an effect. What networks made of it is kept, as it stays
    the same for all steps. Device thread only."""

    def __init__(self, pixels: Pixels, *, blank: Grey | None = None, mask: Grey | None = None) -> None:
        """`pixels` and `blank` (white: the network sees -1 there) have the picture's size, `mask` (white: it
        has an effect) any."""
        self._pixels = pixels
        self._blank = blank
        self._mask = mask
        self._embedded: dict[ControlNet, torch.Tensor] = {}
        self._masks: dict[tuple[int, int], torch.Tensor] = {}

    @property
    def is_everywhere(self) -> bool:
        """Whether it has its whole effect all over the picture."""
        return self._mask is None

    def embedded(self, net: ControlNet, *, tiling: bool) -> torch.Tensor:  # (1, C, H, W)
        """What the network sees of it."""
        found = self._embedded.get(net)
        if found is None:
            found = self._embedded[net] = net.embed(self._shown(net.device), tiling=tiling)
        return found

    def mask_at(self, size: tuple[int, int], device: torch.device) -> torch.Tensor:  # (1, 1, H, W)
        """0 to 1, at the size (H, W) of a layer."""
        found = self._masks.get(size)
        if found is None:
            found = self._masks[size] = self._mask_at(size).to(device)
        return found

    def _mask_at(self, size: tuple[int, int]) -> torch.Tensor:
        if self._mask is None:
            return torch.ones(1, 1, *size)
        whole = torch.from_numpy(np.array(self._mask))[None, None] / _WHITE
        return functional.interpolate(whole, size=size, mode="bilinear")

    def _shown(self, device: torch.device) -> torch.Tensor:  # (1, 3, 8H, 8W)
        shown = torch.from_numpy(np.array(self._pixels)).to(device).permute(2, 0, 1)[None].float() / _WHITE
        if self._blank is not None:
            hidden = torch.from_numpy(self._blank > _WHITE // 2).to(device)
            shown = shown.masked_fill(hidden, -1.0)
        return shown


@dataclass(frozen=True, slots=True, eq=False)
class Say:
    """What a ControlNet has to say in one row of a call."""

    row: int
    net: ControlNet
    shown: ControlMap
    weight: float
    #: The less of it the finer a layer is.
    soft: bool


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A call's rows as networks see them."""

    latents: torch.Tensor  # (B, 4, H, W)
    timesteps: torch.Tensor  # (B,)
    context: torch.Tensor  # (B, L, D)
    told: Mapping[str, torch.Tensor] | None

    def at(self, rows: torch.Tensor) -> "Rows":
        """Some of them, in this order."""
        told = None if self.told is None else {name: value[rows] for name, value in self.told.items()}
        return Rows(self.latents[rows], self.timesteps[rows], self.context[rows], told)


def residuals(says: Sequence[Say], rows: Rows, *, tiling: bool) -> tuple[list[torch.Tensor], torch.Tensor]:
    """What is added for the rows to each level of the way down, and to the middle."""
    groups: dict[ControlNet, list[Say]] = {}
    for say in says:
        groups.setdefault(say.net, []).append(say)
    totals: list[torch.Tensor] | None = None
    for net, group in groups.items():
        totals = _add(totals, net, _in_turns(group), rows, tiling=tiling)
    assert totals is not None, "there is something to say"
    return totals[:-1], totals[-1]


def _add(
    totals: list[torch.Tensor] | None, net: ControlNet, turns: list[list[Say]], rows: Rows, *, tiling: bool
) -> list[torch.Tensor]:
    says = [say for turn in turns for say in turn]
    places, device = [say.row for say in says], rows.latents.device
    are_all = places == list(range(len(rows.latents)))
    index = torch.tensor(places, device=device)
    asked = rows if are_all else rows.at(index)
    embedded = torch.cat([say.shown.embedded(net, tiling=tiling) for say in says])
    said = net.say(
        asked.latents, asked.timesteps, asked.context, asked.told, embedded, tiling=tiling
    )  # fmt: skip
    said = _weighed(net, says, said)
    if totals is None and are_all:
        return said
    if totals is None:
        totals = [each.new_zeros(len(rows.latents), *each.shape[1:]) for each in said]
    begin = 0
    # One turn after the other: sums of several in one row are then always made in the same order.
    for turn in turns:
        part = slice(begin, begin + len(turn))
        for total, each in zip(totals, said, strict=True):
            total.index_add_(0, index[part], each[part])
        begin += len(turn)
    return totals


def _in_turns(says: Sequence[Say]) -> list[list[Say]]:
    """Parted so that no row is twice in a turn."""
    turns: list[list[Say]] = []
    count: dict[int, int] = {}
    for say in says:
        turn = count[say.row] = count.get(say.row, -1) + 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(say)
    return turns


def _weighed(net: ControlNet, says: Sequence[Say], said: list[torch.Tensor]) -> list[torch.Tensor]:
    scales = [layer_scales(say.weight, say.soft, len(said), net.family) for say in says]
    if any(scale != 1 for each in scales for scale in each):
        table = torch.tensor(scales).T.to(device=said[0].device, dtype=said[0].dtype)  # (layers, rows)
        said = [each * scale[:, None, None, None] for each, scale in zip(said, table, strict=True)]
    if not all(say.shown.is_everywhere for say in says):
        said = [each * _masks(says, each) for each in said]
    if net.pools:
        said = [each.mean(dim=(2, 3), keepdim=True).expand_as(each).contiguous() for each in said]
    return said


@lru_cache(maxsize=256)
def layer_scales(weight: float, soft: bool, layers: int, family: Family) -> tuple[float, ...]:
    """By what the layers are multiplied, the finest first and the middle last."""
    if not soft:
        return (weight,) * layers
    last = layers - 1 + (_SDXL_MISSING if family is Family.SDXL else 0)
    return tuple(weight * _SOFTER ** (last - layer) for layer in range(layers))


def _masks(says: Sequence[Say], layer: torch.Tensor) -> torch.Tensor:  # (rows, 1, H, W)
    height, width = layer.shape[-2:]
    return torch.cat([say.shown.mask_at((height, width), layer.device) for say in says]).to(layer.dtype)
