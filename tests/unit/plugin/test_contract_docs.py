"""docs/plugin-contract.md tells what is so: its examples run, and its tables are whole."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from plugin_processes import ROOT, serving
from skimage import data

from sd_plugin import archive, server
from sd_plugin.contract import Limits, ModuleDescription, Parameter, PluginDescription
from sd_plugin.plugins import basic
from sd_plugin.runs import Runs

_TEXT = (ROOT / "docs/plugin-contract.md").read_text()


def _block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", _TEXT, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def test_the_description_is_a_valid_one() -> None:
    assert PluginDescription.read(_block("json").encode()).name == "pixelate"


@pytest.mark.parametrize("kind", [PluginDescription, Limits, ModuleDescription, Parameter])
def test_every_key_is_told_of(kind: type[PluginDescription]) -> None:
    keys = {field.alias for field in kind.model_fields.values()}
    assert {key for key in keys if not re.search(rf"[`.]{key}[`.]", _TEXT)} == set()


def test_every_status_of_the_server_is_told_of() -> None:
    rows = dict(re.findall(r"^\| (\d{3}) \| `(\w+)` \|", _TEXT, re.MULTILINE))
    assert rows == {str(status): error.reason for error, status in server._STATUS.items()}


def test_every_module_of_controlnet_basic_is_told_of() -> None:
    table = _TEXT.split("### controlnet-basic")[1]
    for module in basic.plugin().modules:
        assert f"`{module.description.name}`" in table
        for parameter in module.description.parameters:
            assert f"`{parameter.name}`" in table


def test_the_worked_example_works(socket: Path) -> None:
    (socket.parent / "image.png").write_bytes(archive.png(data.coffee()))
    made = basic.plugin()
    path = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    script = _block("sh").replace("/run/sd-plugins/controlnet-basic.sock", str(socket))
    with serving(server.create_app(made, Runs(made.at_once)), socket):
        done = subprocess.run(
            ["/bin/sh", "-ec", script],
            cwd=socket.parent,
            capture_output=True,
            text=True,
            timeout=60,
            env=path,
        )
    assert done.returncode == 0, done.stderr
    assert np.load(socket.parent / "image.npy").shape == (768, 1152, 3)


def test_the_plugin_in_python_conforms(socket: Path) -> None:
    import io

    from sd_plugin import conformance

    namespace: dict[str, object] = {}
    exec(_block("python"), namespace)
    made = namespace["plugin"]()  # type: ignore[operator]
    report, socket = io.StringIO(), socket.with_name("mirror.sock")
    with serving(server.create_app(made, Runs(made.at_once)), socket):
        assert conformance.check(socket, report) == 0, report.getvalue()
