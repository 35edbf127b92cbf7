"""Strangers' headers and pickles, ten minutes each: no crash, no hang, and memory within bounds.

FUZZ_SECONDS  how long each is fuzzed (600)
"""

import io
import os
import re
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from sd_modelfiles import header
from sd_modelfiles.pickles.machine import Machine

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "demo" / "models"
SECONDS = int(os.environ.get("FUZZ_SECONDS", "600"))

# An input has at most this many bytes, so the limits below are those of one input and of the fuzzer's own.
MAX_BYTES = 128 * 1024
RSS_MEGABYTES = 400
SECONDS_EACH = 10

# The values of fuzzing.WHOLE, IN_ARCHIVE and IN_SEQUENCE, which is not imported: it instruments.
WHOLE, IN_ARCHIVE, IN_SEQUENCE = b"\x00", b"\x01", b"\x02"


def headers() -> list[bytes]:
    """Those of the demo's models."""
    found = []
    for path in sorted(MODELS.rglob("*.safetensors")):
        with path.open("rb") as file:
            start = file.read(header.LENGTH_BYTES)
            found.append(start + file.read(header.header_length(start)))
    return found


def values() -> list[object]:
    weight = torch.ones(4, 3)
    return [
        {
            "a": weight,
            "b": weight.t(),
            "c": weight[1:],
            "d": torch.nn.Parameter(torch.ones(2)),
            "e": [1.5, None],
        },
        {
            "state_dict": torch.nn.Linear(3, 2).state_dict(),
            "epoch": 3,
            "sizes": torch.Size([1]),
            "set": {1, 2},
        },
        {"string_to_param": torch.nn.ParameterDict({"*": torch.ones(2, 8)}), "name": "x"},
        {
            320: [OrderedDict(w=torch.ones(2)), {"w": torch.ones(2, dtype=torch.bfloat16)}],
            "is_layer_norm": False,
        },
        {"eight": torch.ones(3, dtype=torch.float8_e5m2), "whole": torch.tensor(7), "huge": 2**70},
    ]


def torch_files() -> list[bytes]:
    """What PyTorch writes, whole; and the pickles within, to be put into a file of the fuzzer's."""
    found = []
    for value in values():
        for protocol in (2, 4):
            made = io.BytesIO()
            torch.save(value, made, pickle_protocol=protocol)
            with zipfile.ZipFile(made) as archive:
                found.append(IN_ARCHIVE + archive.read("archive/data.pkl"))
            found.append(WHOLE + made.getvalue())
        made = io.BytesIO()
        torch.save(value, made, _use_new_zipfile_serialization=False)
        found += [WHOLE + made.getvalue(), IN_SEQUENCE + _value_of(made.getvalue())]
    return found


def _value_of(old: bytes) -> bytes:
    """The fourth pickle of a file of the old format."""
    machine, begin = Machine(old), 0
    for _ in range(3):
        _, begin = machine.run(begin)
    return old[begin : machine.run(begin)[1]]


SEEDS = {"header": headers, "pickles": torch_files}


@pytest.mark.parametrize("target", SEEDS)
def test_nothing_that_a_stranger_writes_breaks_the_reader(target: str, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS[target]()):
        (corpus / str(number)).write_bytes(seed)
    done = subprocess.run(
        [
            # The kernel takes the peak of this process over into what it starts, not into what that starts.
            *("sh", "-c", '"$@"; exit $?', "sh"),
            sys.executable,
            "-m",
            "tests.soak.fuzzing",
            target,
            f"-max_total_time={SECONDS}",
            f"-max_len={MAX_BYTES}",
            f"-rss_limit_mb={RSS_MEGABYTES}",
            f"-timeout={SECONDS_EACH}",
            f"-artifact_prefix={tmp_path}/",
            str(corpus),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'modelfiles'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    end = done.stdout[-4000:]
    assert done.returncode == 0, end
    last = re.search(r"#(\d+)\s+DONE\s.*rss: (\d+)Mb", done.stdout)
    assert last is not None, end
    print(f"{target}: {last[1]} inputs in {SECONDS} s, at most {last[2]} MB")
    assert int(last[1]) >= 20 * SECONDS
