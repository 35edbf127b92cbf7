"""`upscale`: Real-ESRGAN and every other upscaler that spandrel knows, with weights from the instance's
ModelBundles; nothing is ever fetched."""

import sd_plugin
from sd_plugin import settings, weights
from sd_plugin.contract import Limits
from sd_plugin.module import Plugin
from sd_plugin.plugins.upscale.gallery import FOLDERS, MOST_PIXELS, Gallery
from sd_plugin.shelves import Shelf

#: A large network takes a second on a processor for each tile or two.
_SECONDS = 600.0


def plugin() -> Plugin:
    """See `sd_plugin.module`."""
    weights.limit_threads()
    return Plugin(
        name="upscale",
        version=sd_plugin.__version__,
        kind="Upscaler",
        modules=Gallery(Shelf(settings.model_roots(), FOLDERS, weights.ENDINGS)),
        limits=Limits(pixels=MOST_PIXELS, seconds=_SECONDS),
    )
