"""controlnet_aux, one detector at a time.

Its package imports all detectors at once, one of which reads names that newer releases of mediapipe no longer
have; and the hub's client, which must never ask for anything here. So the package is put in place without its
own code, and only the detectors that are used are imported.
"""

import contextlib
import importlib
import importlib.util
import io
import os
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

_PACKAGE = "controlnet_aux"


def detector(name: str) -> Any:
    """The module `controlnet_aux.<name>`, e.g. "hed" or "leres.pix2pix.models.networks"."""
    _put_in_place()
    with quiet():
        return importlib.import_module(f"{_PACKAGE}.{name}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps what the detectors print, and what they and their libraries warn of, from the log: none of it can
    be acted upon here. For one thread at a time."""
    with warnings.catch_warnings(), np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _put_in_place() -> None:
    if _PACKAGE in sys.modules:
        return
    os.environ["HF_HUB_OFFLINE"] = "1"
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.submodule_search_locations is None:
        raise ModuleNotFoundError(f"no package {_PACKAGE}", name=_PACKAGE)
    package = ModuleType(_PACKAGE)
    package.__path__ = list(found.submodule_search_locations)
    package.__spec__ = found
    sys.modules[_PACKAGE] = package
