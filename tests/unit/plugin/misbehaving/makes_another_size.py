"""Its maps are square, whatever the picture is."""

import io
import zipfile

import numpy as np
from breakers import example

_made = example()


def _pixelate(body, usual=_made.pixelate):
    usual(body)
    np.save(image := io.BytesIO(), np.zeros((64, 64, 3), np.uint8))
    with zipfile.ZipFile(answer := io.BytesIO(), "w") as archive:
        archive.writestr("image.npy", image.getvalue())
        archive.writestr("result.json", '{"seconds": 0}')
    return answer.getvalue()


_made.pixelate = _pixelate
app = _made.app
