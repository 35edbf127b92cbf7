"""Its process is killed in the midst of a run whose strength is 2, as by the kernel for want of memory."""

import os
import signal
import time

import plain


def _call(image, mask, parameters):
    if parameters["strength"] == 2:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
    return plain.as_it_is(image, mask, parameters)


def plugin():
    return plain.made(_call)
