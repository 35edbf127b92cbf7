"""Its maps are larger than the picture, though nobody can ask for that."""

import io
import zipfile

import numpy as np
from breakers import example

_made = example()


def _pixelate(body, usual=_made.pixelate):
    with zipfile.ZipFile(io.BytesIO(usual(body))) as archive:
        small = np.load(io.BytesIO(archive.read("image.npy")))
    np.save(image := io.BytesIO(), small.repeat(2, axis=0).repeat(2, axis=1))
    with zipfile.ZipFile(answer := io.BytesIO(), "w") as archive:
        archive.writestr("image.npy", image.getvalue())
        archive.writestr("result.json", '{"seconds": 0}')
    return answer.getvalue()


_made.pixelate = _pixelate
app = _made.app
