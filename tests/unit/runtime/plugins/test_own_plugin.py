"""This runtime's side against the project's own plugin server, in processes of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sd_runtime.errors import PluginError, UnsupportedError
from sd_runtime.plugins import Plugins
from sd_runtime.settings import WantedPlugin

NAME = "controlnet-basic"
#: Starting a process on a busy machine.
PATIENCE = 60.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sockets")


@pytest.fixture(scope="module")
def supervisor(folder):
    socket = folder / f"{NAME}.sock"
    environment = os.environ | {"SD_PLUGIN_SOCKET": str(socket), "SD_PLUGIN_NAME": NAME}
    process = subprocess.Popen(
        [sys.executable, "-m", "sd_plugin", "serve", "basic"],
        env=environment | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        stderr=subprocess.DEVNULL,
    )
    yield process
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


@pytest.fixture(scope="module")
def plugins(folder, supervisor):
    made = Plugins(folder, [WantedPlugin(name=NAME, kind="Preprocessor")], seconds=PATIENCE)
    until_ready(made)
    yield made
    made.close()


def until_ready(plugins):
    end = time.monotonic() + PATIENCE
    (plugin,) = plugins._plugins.values()
    while not plugin.state.ready:
        assert time.monotonic() < end, plugin.state.message
        time.sleep(0.1)
        plugin.poll()


def workers(supervisor):
    listed = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text()
    return [int(each) for each in listed.split()]


@pytest.fixture
def square():
    """White on black, 40 pixels wide in the middle."""
    picture = np.zeros((96, 128, 3), np.uint8)
    picture[28:68, 44:84] = 255
    return picture


def test_its_modules_are_known_and_available(plugins):
    (state,) = plugins.states()
    assert (state.name, state.kind, state.ready, state.message) == (NAME, "Preprocessor", True, "")
    found = plugins.find("Preprocessor", "canny")
    assert found.state.available
    assert found.state.control_types == ("Canny",)


def test_a_map_comes_back_at_the_resolution_asked_for(plugins, square):
    canny = plugins.find("Preprocessor", "canny")
    made = plugins.run(canny, square, parameters={"resolution": 192}).image
    assert made.shape == (192, 256, 3)
    assert made[96, 88 - 4 : 88 + 4].max() == 255
    assert made[96, 100:150].max() == 0


def test_what_it_does_not_take_is_refused(plugins, square):
    canny = plugins.find("Preprocessor", "canny")
    with pytest.raises(UnsupportedError, match=r"resolution: 63 .* 64 to 2048"):
        plugins.run(canny, square, parameters={"resolution": 63})
    with pytest.raises(UnsupportedError, match="at most"):
        plugins.run(canny, np.zeros((5000, 5000, 3), np.uint8))


def test_a_killed_worker_is_replaced_and_the_next_run_succeeds(plugins, supervisor, square):
    (worker,) = workers(supervisor)
    os.kill(worker, signal.SIGKILL)
    canny = plugins.find("Preprocessor", "canny")
    try:  # the first may have come to the worker that was dying
        made = plugins.run(canny, square).image
    except PluginError as error:
        assert NAME in str(error)
        until_ready(plugins)
        made = plugins.run(canny, square).image
    assert made.max() == 255
    assert workers(supervisor) != [worker]
