"""Every detector, with a file of weights as it was published but for the numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sd_plugin.module import Module, Pixels, Plugin
from sd_plugin.plugins.aux_detectors import library
from sd_plugin.plugins.aux_detectors.catalogue import ENTRIES
from sd_plugin.plugins.aux_detectors.networks import NETWORKS, Merger

PICTURE: Pixels = np.random.default_rng(3).integers(0, 256, (100, 150, 3), np.uint8)


def module(plugin: Plugin, name: str) -> Module:
    return next(each for each in plugin.modules if each.description.name == name)


def mapped(plugin: Plugin, name: str, **given: float) -> Pixels:
    chosen = module(plugin, name)
    parameters = {each.name: each.default for each in chosen.description.parameters}
    return chosen.run(PICTURE.copy(), None, parameters | {"resolution": 64} | given).image


@pytest.mark.parametrize(
    ("network", "names"),
    [
        ("pidinet", ["softedge_pidinet", "softedge_pidisafe", "scribble_pidinet"]),
        ("hed", ["softedge_hed", "softedge_hedsafe", "scribble_hed"]),
        ("mlsd", ["mlsd"]),
        ("lineart", ["lineart_realistic"]),
        ("lineart_coarse", ["lineart_coarse"]),
        ("lineart_anime", ["lineart_anime"]),
        ("normal_bae", ["normal_bae"]),
        ("midas", ["depth_midas", "normal_midas"]),
        ("leres", ["depth_leres"]),
    ],
)
def test_makes_a_map_whose_shorter_side_is_the_resolution(
    network: str,
    names: list[str],
    plugin: Plugin,
    write: Callable[..., Path],
    capfd: pytest.CaptureFixture[str],
) -> None:
    write(network)
    for name in names:
        found = mapped(plugin, name)
        assert found.shape == (64, 96, 3)
        assert found.dtype == np.uint8
        assert found.flags.c_contiguous
    assert capfd.readouterr().out == ""


def test_the_merging_network_takes_two_estimates_and_makes_one() -> None:
    # Without numbers: with them it takes seconds.
    with torch.device("meta"), library.quiet():
        network = NETWORKS["leres_merge"].build()
        assert network(torch.empty(1, 2, 1024, 1024)).shape == (1, 1, 1024, 1024)


@pytest.mark.parametrize(
    "name",
    [
        "core.core.pretrained.model.blocks.23.attn.relative_position_bias_table",
        "core.core.pretrained.model.fc_norm.weight",
        "core.core.pretrained.act_postprocess4.4.weight",
        "core.core.scratch.refinenet1.resConfUnit2.conv1.bias",
        "seed_bin_regressor._net.2.weight",
        "conditional_log_binomial.log_binomial_transform.k_idx",
    ],
)
def test_the_slowest_network_calls_its_tensors_as_the_published_file_does(name: str) -> None:
    with torch.device("meta"), library.quiet():
        assert name in NETWORKS["zoe"].build().state_dict()


@pytest.mark.parametrize(
    ("name", "network", "shades"),
    [("softedge_hedsafe", "hed", 4), ("softedge_pidisafe", "pidinet", 4), ("scribble_hed", "hed", 2)],
)
def test_a_safe_map_has_few_shades_and_a_scribble_two(
    name: str, network: str, shades: int, plugin: Plugin, write: Callable[..., Path]
) -> None:
    write(network)
    assert len(np.unique(mapped(plugin, name))) <= shades


@pytest.mark.parametrize(
    ("name", "given", "options"),
    [
        ("mlsd", {"value_threshold": 0.2, "distance_threshold": 3.0}, {"thr_v": 0.2, "thr_d": 3.0}),
        (
            "depth_leres",
            {"remove_near": 10.0, "remove_background": 20.0},
            {"thr_a": 10.0, "thr_b": 20.0, "boost": False},
        ),
        (
            "depth_leres++",
            {"remove_near": 10.0, "remove_background": 20.0},
            {"thr_a": 10.0, "thr_b": 20.0, "boost": True},
        ),
        ("normal_midas", {"background_threshold": 0.3}, {"bg_th": 0.3}),
    ],
)
def test_parameters_reach_the_detector_under_its_own_names(
    name: str, given: dict[str, float], options: dict[str, Any]
) -> None:
    entry = next(each for each in ENTRIES if each.name == name)
    assert entry.options(given) == options


def test_the_merging_network_is_asked_for_both_estimates_spread_from_minus_one_to_one() -> None:
    seen: list[torch.Tensor] = []

    def network(given: torch.Tensor) -> torch.Tensor:
        seen.append(given)
        return given.mean(1, keepdim=True)

    merger = Merger(network)  # type: ignore[arg-type]
    merger.set_input(np.array([[2, 4], [3, 2]], np.float32), np.array([[10, 0], [5, 10]], np.float32))
    merger.test()
    assert seen[0].tolist() == [[[[-1, 1], [0, -1]], [[1, -1], [0, 1]]]]
    assert merger.get_current_visuals()["fake_B"].tolist() == [[[[0, 0], [0, 0]]]]
