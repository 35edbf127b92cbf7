"""`controlnet-aux`: controlnet_aux's detectors, with weights from the instance's ModelBundles. Nothing is
ever fetched: a module whose weights are not there says so, and is there as soon as they are."""

import cv2

import sd_plugin
from sd_plugin import processors, settings, weights
from sd_plugin.contract import MOST_PIXELS, Limits
from sd_plugin.module import Plugin
from sd_plugin.plugins.aux_detectors import residents
from sd_plugin.plugins.aux_detectors.catalogue import ENTRIES
from sd_plugin.plugins.aux_detectors.modules import DetectorModule

#: The largest of them take minutes on a few processors.
_SECONDS = 300.0


def plugin() -> Plugin:
    """See `sd_plugin.module`."""
    weights.limit_threads()
    cv2.setNumThreads(processors.threads())
    resident = residents.Residents(residents.shelf(settings.model_roots()))
    return Plugin(
        name="controlnet-aux",
        version=sd_plugin.__version__,
        kind="Preprocessor",
        modules=[DetectorModule(entry, resident) for entry in ENTRIES],
        limits=Limits(pixels=MOST_PIXELS, seconds=_SECONDS),
    )
