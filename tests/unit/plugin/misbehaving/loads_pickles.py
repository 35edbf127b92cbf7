"""Unpickles what it is sent."""

import numpy as np
from breakers import example

_made = example()
_load = np.load


class _Trusting:
    """NumPy, but that it trusts everybody."""

    def __getattr__(self, name):
        return getattr(np, name)

    def load(self, stream, allow_pickle):
        return _load(stream, allow_pickle=True).astype(np.uint8)


def _picture(data, usual=_made.read_picture):
    try:
        return usual(data)
    except TypeError:  # objects that are no numbers
        return _made.Image.new("RGB", (64, 64))


_made.np = _Trusting()
_made.read_picture = _picture
app = _made.app
