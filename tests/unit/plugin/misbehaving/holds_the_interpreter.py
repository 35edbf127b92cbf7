"""A run whose strength is 2 never ends and lets nothing else of its process go on."""

import ctypes

import plain


def _call(image, mask, parameters):
    if parameters["strength"] == 2:
        # Called without giving up the interpreter's lock.
        ctypes.PyDLL(None).sleep(3600)
    return plain.as_it_is(image, mask, parameters)


def plugin():
    return plain.made(_call)
