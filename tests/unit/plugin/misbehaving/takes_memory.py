"""A run whose strength is 2 wants a gigabyte of memory."""

import numpy as np
import plain


def _call(image, mask, parameters):
    if parameters["strength"] == 2:
        np.ones(1 << 30, np.uint8)
    return plain.as_it_is(image, mask, parameters)


def plugin():
    return plain.made(_call)
