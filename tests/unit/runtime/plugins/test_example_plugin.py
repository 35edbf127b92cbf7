"""This runtime's side against examples/plugin, which has nothing of the project's, in a process of its own;
what it says of itself has no key that may be left out."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sd_runtime.plugins import Plugins
from sd_runtime.settings import WantedPlugin

EXAMPLE = Path(__file__).parents[4] / "examples/plugin/pixelate.py"
PATIENCE = 60.0


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sockets")
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLE)],
        env=os.environ | {"SD_PLUGIN_SOCKET": str(folder / "pixelate.sock")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    made = Plugins(folder, [WantedPlugin(name="pixelate", kind="Preprocessor")], seconds=PATIENCE)
    (plugin,) = made._plugins.values()
    end = time.monotonic() + PATIENCE
    while not plugin.state.ready:
        assert time.monotonic() < end, plugin.state.message
        time.sleep(0.1)
        plugin.poll()
    yield made
    made.close()
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=20)


def test_what_it_leaves_out_is_as_the_contract_says(plugins):
    found = plugins.find("Preprocessor", "pixelate").state
    assert (found.available, found.reason, found.mask, found.factor) == (True, "", False, None)
    assert (found.aliases, found.control_types, found.matches) == ((), (), ("tile",))


def test_it_paints_in_squares(plugins):
    picture = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    pixelate = plugins.find("Preprocessor", "pixelate")
    made = plugins.run(pixelate, picture, parameters={"square": 16}).image
    assert made.shape == picture.shape
    corner = made[:16, :16].reshape(-1, 3)
    assert (corner == corner[0]).all()
    assert np.allclose(corner[0], picture[:16, :16].reshape(-1, 3).mean(axis=0), atol=1)
