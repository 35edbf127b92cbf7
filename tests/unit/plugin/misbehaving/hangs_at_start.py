"""Never comes up, and never ends by itself."""

import time


def plugin():
    time.sleep(3600)
