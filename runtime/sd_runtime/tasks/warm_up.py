"""The picture that a checkpoint must make before it is served: it shows that every network of it works, and
pays for what a first call costs.

It is a request like any other, so that it goes the way real ones go.
"""

from sd_runtime.sampling.settings import NoiseSettings
from sd_runtime.tasks.recipe import Guided
from sd_runtime.tasks.txt2img import Txt2Img

#: The smallest side that the doors take.
_SIDE = 64


def picture() -> Txt2Img:
    """The smallest picture that needs both texts, the network and the decoder."""
    return Txt2Img(
        guided=Guided(prompt="a picture", steps=2, cfg_scale=7.0, sampler="Euler"),
        noise=NoiseSettings(seed=1),
        width=_SIDE,
        height=_SIDE,
    )
