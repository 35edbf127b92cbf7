"""Which files are kept, read again and let go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from sd_runtime.adapters.patching import Adapters
from sd_runtime.errors import UnsupportedError
from tests.unit.runtime.adapters import made
from tests.unit.runtime.adapters.made import difference, use


def _write(path: Path, seed: int) -> Path:
    made.file_and_fused(path, {"unet": made.unet()}, made.lora(), seed=seed)
    return path


def _spoil(path: Path) -> None:
    """Other bytes that look the same from outside: whoever reads the file again finds no LoRA."""
    stat = path.stat()
    with path.open("r+b") as file:
        file.write(b"\xff" * 64)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_file_is_read_once_for_all_strengths(tmp_path: Path) -> None:
    path, model, adapters = _write(tmp_path / "a.safetensors", 1), made.model(), Adapters(budget_bytes=10**9)
    adapters.prepare(model, (use(path),))
    _spoil(path)
    for strength in (1.0, 0.5, -1.0):
        adapters.prepare(model, (use(path, unet=strength),))
        with adapters.on_unet(model, [(use(path, unet=strength),)]):
            made.run_unet(model.unet)


def test_a_changed_file_is_read_again_and_known_as_another(tmp_path: Path) -> None:
    path, model, adapters = _write(tmp_path / "a.safetensors", 1), made.model(), Adapters(budget_bytes=10**9)
    key = adapters.prepare(model, (use(path),))
    with adapters.on_unet(model, [(use(path),)]):
        before = made.run_unet(model.unet)
    _write(tmp_path / "new.safetensors", 2).replace(path)
    assert adapters.prepare(model, (use(path),)) != key
    with adapters.on_unet(model, [(use(path),)]):
        after = made.run_unet(model.unet)
    assert difference(before, after) > 0.01


def test_the_least_recently_used_go_when_the_budget_is_full(tmp_path: Path) -> None:
    paths = [_write(tmp_path / f"{n}.safetensors", n) for n in range(3)]
    model = made.model()
    budget = 2 * paths[0].stat().st_size + 1000
    adapters = Adapters(budget_bytes=budget)
    for n in (0, 1, 0, 2):
        adapters.prepare(model, (use(paths[n]),))
    assert adapters.nbytes <= budget
    for path in paths:
        _spoil(path)
    for n in (0, 2):
        adapters.prepare(model, (use(paths[n]),))
    with pytest.raises(UnsupportedError, match="no whole safetensors file"):
        adapters.prepare(model, (use(paths[1]),))


def test_a_call_may_need_more_than_the_budget(tmp_path: Path) -> None:
    paths = [_write(tmp_path / f"{n}.safetensors", n) for n in range(3)]
    model = made.model()
    rows = [(use(path),) for path in paths]
    with Adapters(budget_bytes=int(1.1 * paths[0].stat().st_size)).on_unet(model, rows):
        together = made.run_unet(model.unet, 3)
    assert difference(together, made.with_adapters(model, rows)) < 1e-6


def test_a_file_larger_than_the_budget_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.safetensors", 1)
    with pytest.raises(UnsupportedError, match="at most 1000 are kept for adapters"):
        Adapters(budget_bytes=1000).prepare(made.model(), (use(path),))


def test_a_model_that_is_forgotten_leaves_nothing(tmp_path: Path) -> None:
    path, adapters = _write(tmp_path / "a.safetensors", 1), Adapters(budget_bytes=10**9)
    model, other = made.model(), made.model()
    for each in (model, other):
        adapters.prepare(each, (use(path),))
    whole = adapters.nbytes
    adapters.forget(model)
    assert adapters.nbytes == whole / 2
    adapters.forget(other)
    assert adapters.nbytes == 0


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"<lora:gone>.*it cannot be read: No such file"):
        Adapters(budget_bytes=10**9).prepare(made.model(), (use(tmp_path / "gone.safetensors"),))


def test_a_refused_file_among_good_ones_changes_nothing(tmp_path: Path) -> None:
    path, model, adapters = _write(tmp_path / "a.safetensors", 1), made.model(), Adapters(budget_bytes=10**9)
    before = made.run_unet(model.unet)
    (tmp_path / "cut.safetensors").write_bytes(path.read_bytes()[:-7])
    rows = [(use(path), use(tmp_path / "cut.safetensors"))]
    with pytest.raises(UnsupportedError, match="no whole safetensors file"), adapters.on_unet(model, rows):
        pass
    assert torch.equal(made.run_unet(model.unet), before)
