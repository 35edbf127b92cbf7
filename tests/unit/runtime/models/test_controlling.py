"""What ControlNets add to the rows of a call: weighed by layer, confined to masks, zeros for everybody else;
and each network runs once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sd_modelfiles.family import Family
from sd_runtime.models import controlling
from sd_runtime.models.controlling import ControlMap, Rows, Say, layer_scales

LEVELS = ((1, 8, 8), (2, 4, 4), (2, 4, 4))  # two on the way down, and the middle


class Net:
    """Says on every level what its map is (its mean), and what the row's latents are."""

    device = torch.device("cpu")

    def __init__(self, *, pools: bool = False, family: Family = Family.SD15) -> None:
        self.pools = pools
        self.family = family
        self.calls: list[int] = []
        self.embeddings = 0

    def embed(self, map_: torch.Tensor, *, tiling: bool) -> torch.Tensor:
        self.embeddings += 1
        self.seen = map_
        return map_.mean(dim=(1, 2, 3), keepdim=True)

    def say(
        self, latents: Any, timesteps: Any, context: Any, told: Any, embedded: Any, *, tiling: bool
    ) -> Any:
        self.calls.append(len(latents))
        value = embedded + latents[:, :1, :1, :1]
        return [value.expand(-1, *level).clone() for level in LEVELS]


def shown(value: int, **more: Any) -> ControlMap:
    return ControlMap(np.full((64, 64, 3), value, np.uint8), **more)


def say(row: int, net: Any, map_: ControlMap, *, weight: float = 1.0, soft: bool = False) -> Say:
    return Say(row, net, map_, weight, soft)


def rows(count: int) -> Rows:
    """Row i has latents of 10 * i."""
    latents = torch.arange(count).float()[:, None, None, None] * 10
    return Rows(latents.expand(-1, 4, 8, 8), torch.zeros(count), torch.zeros(count, 77, 8), None)


def added(says: list[Say], count: int) -> list[torch.Tensor]:
    down, middle = controlling.residuals(says, rows(count), tiling=False)
    return [*down, middle]


def values(layer: torch.Tensor) -> list[float]:
    """One for each row; they are the same all over it."""
    assert torch.equal(layer, layer[:, :1, :1, :1].expand_as(layer))
    return [round(float(row[0, 0, 0]), 4) for row in layer]


def test_each_row_gets_its_own_and_others_get_zeros() -> None:
    net = Net()
    for layer in added([say(1, net, shown(255)), say(3, net, shown(0), weight=0.5)], 4):
        assert values(layer) == [0, 11, 0, 15]
    assert net.calls == [2], "it runs once, for the rows that have a use for it"


def test_a_network_that_is_for_all_rows_runs_on_them_as_they_are() -> None:
    net = Net()
    for layer in added([say(row, net, shown(255)) for row in range(3)], 3):
        assert values(layer) == [1, 11, 21]


def test_several_networks_and_several_maps_of_one_add_up() -> None:
    one, other = Net(), Net()
    says = [say(0, one, shown(255)), say(0, one, shown(0)), say(0, other, shown(255), weight=2)]
    for layer in added([*says, say(1, one, shown(255))], 2):
        assert values(layer) == [3, 11]
    assert (one.calls, other.calls) == ([3], [1])


def test_soft_weights_grow_towards_the_middle() -> None:
    layers = added([say(0, Net(), shown(255), weight=2, soft=True), say(1, Net(), shown(255))], 2)
    assert [values(layer)[0] for layer in layers] == pytest.approx([2 * 0.825**2, 2 * 0.825, 2], abs=1e-3)
    assert [values(layer)[1] for layer in layers] == [11, 11, 11]


def test_published_networks_have_the_extensions_weights() -> None:
    sd15, sdxl = layer_scales(1, True, 13, Family.SD15), layer_scales(1, True, 10, Family.SDXL)
    assert sd15 == pytest.approx([0.825 ** (12 - i) for i in range(13)])
    assert sdxl == pytest.approx(sd15[:10])


def test_nothing_is_added_where_a_mask_is_black() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[:, :32] = 255
    for layer in added([say(0, Net(), shown(255, mask=mask)), say(1, Net(), shown(255))], 2):
        half = layer.shape[3] // 2
        assert torch.equal(layer[0, :, :, :half], torch.ones_like(layer[0, :, :, :half]))
        assert torch.equal(layer[0, :, :, half:], torch.zeros_like(layer[0, :, :, half:]))
        assert bool((layer[1] == 11).all())


def test_what_a_pooling_network_says_is_the_same_all_over() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[:, :32] = 255
    for layer in added([say(0, Net(pools=True), shown(255, mask=mask))], 1):
        assert values(layer) == [0.5]


def test_a_map_is_shown_from_0_to_1_and_as_minus_1_where_it_is_hidden() -> None:
    net, hidden = Net(), np.zeros((64, 64), np.uint8)
    hidden[0] = 255
    added([say(0, net, shown(51, blank=hidden))], 1)
    assert net.seen.shape == (1, 3, 64, 64)
    assert bool((net.seen[:, :, 0] == -1).all())
    assert torch.allclose(net.seen[:, :, 1:], torch.tensor(0.2))


def test_a_map_is_prepared_once_for_each_network() -> None:
    map_, one, other = shown(255), Net(), Net()
    for _ in range(3):
        added([say(0, one, map_), say(1, one, map_), say(1, other, map_)], 2)
    assert (one.embeddings, other.embeddings) == (1, 1)
