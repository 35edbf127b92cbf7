"""Files of weights for which there was too little memory once: they are as good as before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_PLACE = Path(__file__).resolve().parents[3]
_TOLD = "there is too little memory to load it now"
#: In a process of its own, whose memory is as a worker's begins: what one has freed it may take again.
_LITTLE = """
import contextlib, re, resource, sys, time
from pathlib import Path
import torch

@contextlib.contextmanager
def little(megabytes):
    '''So much and no more beside what there is.'''
    now = int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10
    usual = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (now + (megabytes << 20), usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, usual)

root = Path(sys.argv[1])
"""
_DETECTOR = """
from sd_plugin.errors import ModuleFailed
from sd_plugin.plugins.aux_detectors import networks, residents

path = root / "models/Annotators/ControlNetHED.pth"
path.parent.mkdir(parents=True)
torch.save(networks.built(networks.NETWORKS["hed"]).state_dict(), path)
held = residents.Residents(residents.shelf((root,)))
with little(int(sys.argv[2])):
    try:
        held.network("hed")
    except ModuleFailed as error:
        print(error)
print(repr(held.fault("hed")))
held.network("hed")
"""
_UPSCALER = """
from spandrel.architectures.ESRGAN import ESRGAN
from sd_plugin import weights
from sd_plugin.plugins.upscale import gallery
from sd_plugin.shelves import Shelf

path = root / "models/ESRGAN/x4.pth"
path.parent.mkdir(parents=True)
torch.save(ESRGAN(num_blocks=8).state_dict(), path)
gallery._SOON = 0.2
files = gallery.Gallery(Shelf((root,), gallery.FOLDERS, weights.ENDINGS))
with little(int(sys.argv[2])):
    files.look()
    print(files[0].description.reason)
time.sleep(0.3)
files.look()
print(repr(files[0].description.reason))
"""


@pytest.mark.parametrize(
    ("script", "file", "megabytes"),
    [
        (_DETECTOR, "ControlNetHED.pth", 5),
        (_DETECTOR, "ControlNetHED.pth", 30),
        (_UPSCALER, "x4.pth", 5),
        (_UPSCALER, "x4.pth", 20),
    ],
    ids=["detector-5", "detector-30", "upscaler-5", "upscaler-20"],
)
def test_a_want_of_memory_is_named_and_not_kept_as_a_fault_of_the_file(
    script: str, file: str, megabytes: int, tmp_path: Path
) -> None:
    path = ":".join(str(_PLACE / each) for each in ("runtime", "modelfiles"))
    done = subprocess.run(
        [sys.executable, "-c", _LITTLE + script, tmp_path, str(megabytes)],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{file}: {_TOLD}", "''"]


def test_a_file_larger_than_the_memory_there_is_is_no_broken_file(tmp_path: Path) -> None:
    script = """
from sd_plugin import weights
path = root / "huge.safetensors"
with path.open("wb") as written:
    head = b'{"x": {"dtype": "F32", "shape": [750000000], "data_offsets": [0, 3000000000]}}'
    written.write(len(head).to_bytes(8, "little") + head)
    written.truncate(8 + len(head) + 3_000_000_000)
with little(1024):
    try:
        weights.read(path)
    except weights.ShortOfMemory as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", _LITTLE + script, tmp_path],
        env=os.environ | {"PYTHONPATH": str(_PLACE / "runtime")},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stdout == f"huge.safetensors: {_TOLD}\n", done.stderr
