"""The networks of controlnet_aux's detectors, built without weights, and the files their weights come in.

Built here because the detectors' own ways load pickles as they come and ask the hub for what is missing.
Knows nothing of modules.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from sd_plugin.plugins.aux_detectors import library


@dataclass(frozen=True, slots=True)
class Network:
    """`file` is the well-known name of its weights; `build` makes it with weights of chance."""

    file: str
    build: Callable[[], torch.nn.Module]

    @property
    def names(self) -> tuple[str, ...]:
        """The names that the file may have: a converted one keeps its stem."""
        return f"{self.file.rpartition('.')[0]}.safetensors", self.file


def _hed() -> Any:
    return library.detector("hed").ControlNetHED_Apache2()


def _pidinet() -> Any:
    return library.detector("pidi").pidinet()


def _mlsd() -> Any:
    return library.detector("mlsd").MobileV2_MLSD_Large()


def _lineart() -> Any:
    return library.detector("lineart").Generator(3, 1, 3)


def _lineart_anime() -> Any:
    norm = functools.partial(torch.nn.InstanceNorm2d, affine=False, track_running_stats=False)
    return library.detector("lineart_anime").UnetGenerator(3, 1, 8, 64, norm_layer=norm, use_dropout=False)


def _normal_bae() -> Any:
    settings = SimpleNamespace(
        mode="client", architecture="BN", pretrained="scannet", sampling_ratio=0.4, importance_ratio=0.7
    )
    return library.detector("normalbae").NNET(settings)


def _midas() -> Any:
    module = library.detector("midas.midas.dpt_depth")
    return module.DPTDepthModel(backbone="vitb_rn50_384", non_negative=True)


def _leres() -> Any:
    return library.detector("leres").RelDepthModel(backbone="resnext101")


def _leres_merge() -> Any:
    return library.detector("leres.pix2pix.models.networks").define_G(2, 1, 64, "unet_1024", "none")


def _zoe() -> Any:
    module = library.detector("zoe")
    return module.ZoeDepth.build_from_config(module.get_config("zoedepth", "infer"))


NETWORKS: Mapping[str, Network] = {
    "hed": Network("ControlNetHED.pth", _hed),
    "pidinet": Network("table5_pidinet.pth", _pidinet),
    "mlsd": Network("mlsd_large_512_fp32.pth", _mlsd),
    "lineart": Network("sk_model.pth", _lineart),
    "lineart_coarse": Network("sk_model2.pth", _lineart),
    "lineart_anime": Network("netG.pth", _lineart_anime),
    "normal_bae": Network("scannet.pt", _normal_bae),
    "midas": Network("dpt_hybrid-midas-501f0c75.pt", _midas),
    "leres": Network("res101.pth", _leres),
    "leres_merge": Network("latest_net_G.pth", _leres_merge),
    "zoe": Network("ZoeD_M12_N.pt", _zoe),
}


def built(network: Network) -> torch.nn.Module:
    """The network, ready for weights, in inference."""
    with library.quiet():
        return network.build().float().eval().requires_grad_(False)


class Merger:
    """LeReS's merging network as its boosting asks it: two estimates of depth (rows, columns) in, one out, of
    -1 to 1."""

    def __init__(self, network: torch.nn.Module) -> None:
        self._network = network
        self._given = torch.zeros(0)
        self._made = torch.zeros(0)

    def set_input(self, outer: Any, inner: Any) -> None:
        """The estimate of the whole at a low resolution, and one at a high resolution."""
        self._given = torch.stack([_spread(outer), _spread(inner)])[None]  # (1, 2, rows, columns)

    def test(self) -> None:
        """Merges them."""
        with torch.no_grad():
            self._made = self._network(self._given)

    def get_current_visuals(self) -> Mapping[str, torch.Tensor]:
        """The result, under the name that is asked for."""
        return {"fake_B": self._made}


def _spread(estimate: Any) -> torch.Tensor:
    shades = torch.from_numpy(estimate)
    return (shades - shades.min()) / (shades.max() - shades.min()) * 2 - 1
