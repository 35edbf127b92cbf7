"""Pickles of PyTorch's, read where the policy allows that, without its unpickler."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sd_runtime import device
from sd_runtime.errors import CheckpointError
from sd_runtime.models import checkpoint, weights
from sd_runtime.models.digests import DigestCache
from sd_runtime.models.network import Model
from sd_runtime.models.reading import Placement

CPU = device.choose("cpu")
EVERYTHING = Placement(torch.device("cpu"), None)


def saved(value: object, path: Path) -> Path:
    torch.save(value, path)
    return path


def read(path: Path) -> dict[str, torch.Tensor]:
    file = weights.open_file(path, allow_pickles=True)
    return file.read(lambda _: EVERYTHING, DigestCache())[0]


@pytest.fixture
def ckpt(checkpoint_file: Path, tmp_path: Path) -> Path:
    return saved({"state_dict": load_file(checkpoint_file), "epoch": 3}, tmp_path / "old.ckpt")


def test_a_pickled_checkpoint_becomes_the_same_networks(ckpt: Path, model: Model) -> None:
    loaded = checkpoint.load(ckpt, CPU, DigestCache(), allow_pickles=True)
    for ours, theirs in ((loaded.unet, model.unet), (loaded.vae, model.vae)):
        mine, other = ours.state_dict(), theirs.state_dict()
        assert mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)


def test_its_digest_is_that_of_the_file(ckpt: Path) -> None:
    loaded = checkpoint.load(ckpt, CPU, DigestCache(), allow_pickles=True).loaded
    assert loaded.sha256 == hashlib.sha256(ckpt.read_bytes()).hexdigest()


def test_pickles_are_refused_unless_they_are_allowed_and_the_message_says_how(ckpt: Path) -> None:
    with pytest.raises(CheckpointError, match=r"^old.ckpt: a Python pickle .*SD_ALLOW_PICKLES"):
        checkpoint.load(ckpt, CPU, DigestCache())


class Command:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch ran",)


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = saved({"state_dict": {"a": Command()}}, tmp_path / "evil.ckpt")
    with pytest.raises(CheckpointError, match=r"^evil.ckpt: the pickle asks for (posix|nt)\.system"):
        checkpoint.load(path, CPU, DigestCache(), allow_pickles=True)
    assert not (tmp_path / "ran").exists()


def test_a_cut_pickle_is_refused(ckpt: Path) -> None:
    ckpt.write_bytes(ckpt.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"^old.ckpt: "):
        checkpoint.load(ckpt, CPU, DigestCache(), allow_pickles=True)


def test_tensors_come_out_as_they_were(tmp_path: Path) -> None:
    whole = torch.arange(60, dtype=torch.float32).reshape(6, 10)
    tensors = {
        "whole": whole,
        "turned": whole.T,
        "part": whole[2:4, 1:3],
        "empty": torch.zeros(0, 3),
        "numbers": torch.arange(5),
        "last": torch.zeros(0),
    }
    found = read(saved(tensors, tmp_path / "tensors.pt"))
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], value) for name, value in tensors.items())
    assert found["numbers"].dtype is torch.int64


def test_only_wanted_tensors_are_kept(tmp_path: Path) -> None:
    path = saved({"a": torch.ones(3), "b": torch.zeros(4)}, tmp_path / "tensors.pt")
    file = weights.open_file(path, allow_pickles=True)
    found, _ = file.read(lambda name: EVERYTHING if name == "b" else None, DigestCache())
    assert list(found) == ["b"]


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    path = saved({"a": torch.arange(3)}, tmp_path / "tensors.pt")
    file = weights.open_file(path, allow_pickles=True)
    with pytest.raises(CheckpointError, match="tensor 'a' has the unsupported dtype I64; allowed: F64, F32"):
        file.read(lambda _: Placement(torch.device("cpu"), torch.float32), DigestCache())
