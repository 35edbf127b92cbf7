"""The modules: their names and parameters as sd-webui-controlnet's clients know them, the networks each
needs, and how controlnet_aux is asked for its map.

Names are those that sd-webui-controlnet shows, aliases its keys where they differ. For each control type the
module that it offers first is the first here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sd_plugin import resolution
from sd_plugin.contract import Parameter
from sd_plugin.plugins.aux_detectors import library
from sd_plugin.plugins.aux_detectors.networks import Merger

#: One of controlnet_aux's detectors: called with a picture and options, answers with a map.
Detector = Callable[..., Any]
Numbers = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Entry:
    """A module. `detector` makes controlnet_aux's from the networks, `options` says what else it is given."""

    name: str
    control_types: tuple[str, ...]
    matches: tuple[str, ...]
    networks: tuple[str, ...]
    detector: Callable[..., Detector]
    options: Callable[[Numbers], dict[str, Any]] = lambda _: {}
    aliases: tuple[str, ...] = ()
    #: The first is the resolution.
    parameters: tuple[Parameter, ...] = (resolution.parameter(),)

    @property
    def most_pixels(self) -> int:
        """Of a map: those of a square one at the highest resolution, for so many fit into the memory."""
        return int(self.parameters[0].maximum) ** 2


def _made_by(module: str, name: str) -> Callable[..., Detector]:
    """The class `name` of controlnet_aux's `module`, which takes the networks."""

    def make(*networks: Any) -> Detector:
        made: Detector = getattr(library.detector(module), name)(*networks)
        return made

    return make


def _always(**options: Any) -> Callable[[Numbers], dict[str, Any]]:
    return lambda _: options


def _percent(name: str, label: str) -> Parameter:
    return Parameter(
        name=name, label=label, type="number", default=0, minimum=0, maximum=100, step=0.1, unit="%"
    )


def _threshold(name: str, label: str, default: float, minimum: float, maximum: float) -> Parameter:
    return Parameter(
        name=name, label=label, type="number", default=default, minimum=minimum, maximum=maximum, step=0.01
    )


def _lineart(network: Any) -> Detector:
    # It has two networks and takes the first.
    return _made_by("lineart", "LineartDetector")(network, network)


def _leres(network: Any, merge: Any = None) -> Detector:
    return _made_by("leres", "LeresDetector")(network, Merger(merge) if merge is not None else None)


def _normal_midas(network: Any) -> Detector:
    midas = _made_by("midas", "MidasDetector")(network)
    return lambda image, **options: midas(image, depth_and_normal=True, **options)[1]


def _leres_options(boost: bool) -> Callable[[Numbers], dict[str, Any]]:
    return lambda given: {
        "thr_a": given["remove_near"],
        "thr_b": given["remove_background"],
        "boost": boost,
    }


def _up_to(maximum: int) -> tuple[Parameter, ...]:
    return (resolution.parameter(maximum=maximum),)


#: With these a run takes 2 to 3.5 GB, of the 4 GB that the chart gives (measured, without threads); memory
#: grows with the pixels of the map, and faster for midas's and zoe's attention.
_TO_1024, _TO_1280, _TO_1536 = _up_to(1024), _up_to(1280), _up_to(1536)
_HED = _made_by("hed", "HEDdetector")
_PIDINET = _made_by("pidi", "PidiNetDetector")
_SOFT = (("SoftEdge",), ("softedge", "hed", "pidi"))
_SCRIBBLE = (("Scribble", "SparseCtrl"), ("scribble", "sketch"))
_DEPTH = (("Depth",), ("depth",))
_NORMAL = (("NormalMap",), ("normal",))
_LINEART = (("Lineart",), ("lineart",))
#: LeReS++ looks for the size at which a picture's depth shows best, and finds none for smaller ones.
_LEAST_BOOSTED = 192
_REMOVALS = (
    _percent("remove_near", "Remove Near %"),
    _percent("remove_background", "Remove Background %"),
)
_MLSD = (
    resolution.parameter(),
    _threshold("value_threshold", "MLSD Value Threshold", 0.1, 0.01, 2.0),
    _threshold("distance_threshold", "MLSD Distance Threshold", 0.1, 0.01, 20.0),
)

ENTRIES = (
    Entry(
        "softedge_pidinet",
        *_SOFT,
        networks=("pidinet",),
        detector=_PIDINET,
        parameters=_TO_1280,
        aliases=("pidinet",),
    ),
    Entry(
        "softedge_pidisafe",
        *_SOFT,
        networks=("pidinet",),
        detector=_PIDINET,
        parameters=_TO_1280,
        options=_always(safe=True),
        aliases=("pidinet_safe", "softedge_pidsafe"),
    ),
    Entry(
        "softedge_hed",
        *_SOFT,
        networks=("hed",),
        detector=_HED,
        parameters=_TO_1536,
        aliases=("hed",),
    ),
    Entry(
        "softedge_hedsafe",
        *_SOFT,
        networks=("hed",),
        detector=_HED,
        parameters=_TO_1536,
        options=_always(safe=True),
        aliases=("hed_safe",),
    ),
    Entry(
        "scribble_pidinet",
        *_SCRIBBLE,
        networks=("pidinet",),
        detector=_PIDINET,
        parameters=_TO_1280,
        options=_always(scribble=True),
        aliases=("pidinet_scribble",),
    ),
    Entry(
        "scribble_hed",
        *_SCRIBBLE,
        networks=("hed",),
        detector=_HED,
        parameters=_TO_1536,
        options=_always(scribble=True),
        aliases=("fake_scribble",),
    ),
    Entry(
        "depth_midas",
        *_DEPTH,
        networks=("midas",),
        detector=_made_by("midas", "MidasDetector"),
        parameters=_TO_1024,
        aliases=("depth",),
    ),
    Entry(
        "depth_zoe",
        *_DEPTH,
        networks=("zoe",),
        detector=_made_by("zoe", "ZoeDetector"),
        parameters=_TO_1024,
    ),
    Entry(
        "depth_leres",
        *_DEPTH,
        networks=("leres",),
        detector=_leres,
        options=_leres_options(boost=False),
        parameters=(*_TO_1024, *_REMOVALS),
    ),
    Entry(
        "depth_leres++",
        *_DEPTH,
        networks=("leres", "leres_merge"),
        detector=_leres,
        options=_leres_options(boost=True),
        parameters=(
            resolution.parameter(minimum=_LEAST_BOOSTED, maximum=1024),
            *_REMOVALS,
        ),
    ),
    Entry(
        "mlsd",
        ("MLSD",),
        ("mlsd",),
        networks=("mlsd",),
        detector=_made_by("mlsd", "MLSDdetector"),
        options=lambda given: {"thr_v": given["value_threshold"], "thr_d": given["distance_threshold"]},
        parameters=_MLSD,
    ),
    Entry(
        "normal_bae",
        *_NORMAL,
        networks=("normal_bae",),
        detector=_made_by("normalbae", "NormalBaeDetector"),
        parameters=_TO_1024,
    ),
    Entry(
        "normal_midas",
        *_NORMAL,
        networks=("midas",),
        detector=_normal_midas,
        options=lambda given: {"bg_th": given["background_threshold"]},
        aliases=("normal_map",),
        parameters=(
            *_TO_1024,
            _threshold("background_threshold", "Normal Background Threshold", 0.4, 0.0, 1.0),
        ),
    ),
    Entry(
        "lineart_realistic",
        *_LINEART,
        networks=("lineart",),
        detector=_lineart,
        parameters=_TO_1280,
        aliases=("lineart",),
    ),
    Entry(
        "lineart_coarse",
        *_LINEART,
        networks=("lineart_coarse",),
        detector=_lineart,
        parameters=_TO_1280,
    ),
    Entry(
        "lineart_anime",
        *_LINEART,
        networks=("lineart_anime",),
        detector=_made_by("lineart_anime", "LineartAnimeDetector"),
    ),
)
