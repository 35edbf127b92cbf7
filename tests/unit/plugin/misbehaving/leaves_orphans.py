"""Every run leaves a process behind that ends a moment later, with nobody to take note of it."""

import subprocess

import plain


def _call(image, mask, parameters):
    subprocess.run(["/bin/sh", "-c", "sleep 0.2 &"], check=True)
    return plain.as_it_is(image, mask, parameters)


def plugin():
    return plain.made(_call)
