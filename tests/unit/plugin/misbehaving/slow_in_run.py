"""Every run takes a second."""

import time

import plain


def _call(image, mask, parameters):
    time.sleep(1)
    return plain.as_it_is(image, mask, parameters)


def plugin():
    return plain.made(_call)
