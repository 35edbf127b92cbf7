"""controlnet-basic within the memory that its chart gives it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from plugin_processes import ROOT, body, client, supervised, until
from skimage import data

from sd_plugin.plugins.basic import maps

#: As many as the runtime asks for at once.
_AT_ONCE = 4


@pytest.mark.parametrize("name", ["scribble_xdog", "lineart_standard"])
def test_what_is_computed_in_bands_is_what_the_whole_gives(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = {"resolution": 512, "threshold": 32}
    whole = getattr(maps, name)(data.coffee(), parameters)
    assert whole.any()
    for pixels in (1, 1 << 16):
        monkeypatch.setattr(maps, "_BAND_PIXELS", pixels)
        assert (getattr(maps, name)(data.coffee(), parameters) == whole).all()


def test_the_largest_pictures_fit_beside_those_that_wait(socket: Path) -> None:
    values = yaml.safe_load((ROOT / "charts/sd-plugin-basic/values.yaml").read_text())
    assert values["resources"]["limits"]["memory"] == "1Gi"
    largest = body(2048, 8192, parameters=b'{"resolution": 2048}')
    modules = ["scribble_xdog", "lineart_standard", "shuffle", "threshold"]
    assert len(modules) == _AT_ONCE
    with (
        supervised("basic", socket, SD_PLUGIN_MEMORY_BYTES=str(1 << 30)) as running,
        client(socket) as asking,
    ):
        until(running.serves, "a worker")
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            answers = list(
                threads.map(
                    lambda name: asking.post(f"/v1/run/{name}", content=largest, timeout=100), modules
                )
            )
        told = [(each.status_code, each.text[:200] if each.status_code != 200 else "") for each in answers]
        assert told == [(200, "")] * _AT_ONCE
