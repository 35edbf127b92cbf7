"""Which files are kept, read again and let go; and that a picture keeps those that it was pinned to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast
from weakref import ref

import pytest
import torch

from sd_runtime.adapters.patching import Adapters, Pinned
from sd_runtime.errors import UnsupportedError
from sd_runtime.models.network import Model
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


def _answer(adapters: Adapters, model: Model, *pinned: Pinned | None) -> torch.Tensor:
    with adapters.on_unet(model, pinned):
        return made.run_unet(model.unet, len(pinned))


def test_a_file_is_read_once_for_all_strengths(tmp_path: Path) -> None:
    path, model, adapters = _write(tmp_path / "a.safetensors", 1), made.model(), Adapters(budget_bytes=10**9)
    adapters.pin(model, (use(path),))
    _spoil(path)
    for strength in (1.0, 0.5, -1.0):
        adapters.pin(model, (use(path, unet=strength),))


def test_a_replaced_file_is_read_again_for_those_who_come_later_only(tmp_path: Path) -> None:
    path, model, adapters = _write(tmp_path / "a.safetensors", 1), made.model(), Adapters(budget_bytes=10**9)
    earlier = adapters.pin(model, (use(path),))
    before = _answer(adapters, model, earlier)
    _write(tmp_path / "new.safetensors", 2).replace(path)
    assert torch.equal(_answer(adapters, model, earlier), before)
    later = adapters.pin(model, (use(path),))
    assert later != earlier
    assert later.files != earlier.files
    both = _answer(adapters, model, later, earlier)
    assert difference(both[0], before[0]) > 0.01
    assert difference(both[1], _answer(adapters, model, None, earlier)[1]) < 1e-5


def test_a_removed_file_stays_with_those_who_were_pinned_to_it(tmp_path: Path) -> None:
    path, model, adapters = tmp_path / "a.safetensors", made.model(), Adapters(budget_bytes=10**9)
    encoder = cast(Any, model.text).network
    made.file_and_fused(path, {"unet": model.unet, "te": encoder}, made.lora())
    pinned = adapters.pin(model, (use(path),))
    before = _answer(adapters, model, pinned)
    with adapters.on_text(model, pinned):
        text_before = made.run_text(encoder)
    path.unlink()
    assert torch.equal(_answer(adapters, model, pinned), before)
    with adapters.on_text(model, pinned):
        assert torch.equal(made.run_text(encoder), text_before)
    with pytest.raises(UnsupportedError, match=r"<lora:a>.*it cannot be read: No such file"):
        adapters.pin(model, (use(path),))


def test_equal_uses_of_equal_files_are_one_group_in_a_call(tmp_path: Path) -> None:
    path, model, adapters = _write(tmp_path / "a.safetensors", 1), made.model(), Adapters(budget_bytes=10**9)
    (tmp_path / "alias.safetensors").symlink_to(path)
    one, other = (adapters.pin(model, (use(tmp_path / f"{name}.safetensors"),)) for name in ("a", "alias"))
    assert (one, hash(one)) == (other, hash(other))
    weaker = adapters.pin(model, (use(path, unet=0.5),))
    assert weaker != one
    assert weaker.files == one.files
    with adapters.on_unet(model, [one, other]):
        assert _terms(model) == {1}
    with adapters.on_unet(model, [one, weaker]):
        assert _terms(model) == {2}


def test_strengths_in_the_text_encoders_do_not_part_the_rows_of_the_unet(tmp_path: Path) -> None:
    path, model, adapters = tmp_path / "a.safetensors", made.model(), Adapters(budget_bytes=10**9)
    encoder = cast(Any, model.text).network
    made.file_and_fused(path, {"unet": model.unet, "te": encoder}, made.lora())
    with adapters.on_unet(model, [adapters.pin(model, (use(path, text=text),)) for text in (1.0, 0.2)]):
        assert _terms(model) == {1}


def _terms(model: Model) -> set[int]:
    """How many groups of rows each patched module computes something for."""
    patched = [vars(module)["forward"] for module in model.unet.modules() if "forward" in vars(module)]
    return {len(forward.func.__self__.outputs) for forward in patched}


def test_the_least_recently_used_go_when_the_budget_is_full(tmp_path: Path) -> None:
    paths = [_write(tmp_path / f"{n}.safetensors", n) for n in range(3)]
    model = made.model()
    budget = 2 * paths[0].stat().st_size + 1000
    adapters = Adapters(budget_bytes=budget)
    for n in (0, 1, 0, 2):
        adapters.pin(model, (use(paths[n]),))
    assert adapters.nbytes <= budget
    for path in paths:
        _spoil(path)
    for n in (0, 2):
        adapters.pin(model, (use(paths[n]),))
    with pytest.raises(UnsupportedError, match="no whole safetensors file"):
        adapters.pin(model, (use(paths[1]),))


def test_what_pictures_under_way_compute_with_was_used_last(tmp_path: Path) -> None:
    paths = [_write(tmp_path / f"{n}.safetensors", n) for n in range(3)]
    model, adapters = made.model(), Adapters(budget_bytes=2 * paths[0].stat().st_size + 1000)
    under_way = adapters.pin(model, (use(paths[0]),))
    adapters.pin(model, (use(paths[1]),))
    _answer(adapters, model, under_way)
    adapters.pin(model, (use(paths[2]),))
    del under_way
    _spoil(paths[0])
    adapters.pin(model, (use(paths[0]),))


def test_who_is_pinned_keeps_weights_that_the_budget_lets_go(tmp_path: Path) -> None:
    paths = [_write(tmp_path / f"{n}.safetensors", n) for n in range(3)]
    model, adapters = made.model(), Adapters(budget_bytes=int(1.1 * paths[0].stat().st_size))
    pinned = adapters.pin(model, (use(paths[0]),))
    one, before = adapters.nbytes, _answer(adapters, model, pinned)
    for path in paths[1:]:
        adapters.pin(model, (use(path),))
    assert adapters.nbytes == 2 * one
    paths[0].unlink()
    assert torch.equal(_answer(adapters, model, pinned), before)
    del pinned
    assert adapters.nbytes == one


def test_weights_that_a_picture_keeps_are_not_read_again_for_another(tmp_path: Path) -> None:
    paths = [_write(tmp_path / f"{n}.safetensors", n) for n in range(2)]
    model, adapters = made.model(), Adapters(budget_bytes=int(1.1 * paths[0].stat().st_size))
    pinned = adapters.pin(model, (use(paths[0]),))
    adapters.pin(model, (use(paths[1]),))
    _spoil(paths[0])
    assert adapters.pin(model, (use(paths[0]),)) == pinned


def test_weights_that_nobody_keeps_leave_the_memory(tmp_path: Path) -> None:
    paths = [_write(tmp_path / f"{n}.safetensors", n) for n in range(2)]
    model, adapters = made.model(), Adapters(budget_bytes=int(1.1 * paths[0].stat().st_size))
    pinned = adapters.pin(model, (use(paths[0]),))
    with adapters.on_unet(model, [pinned]):
        _, term, _ = model.unet.conv_in.forward.func.__self__.outputs[0]
        weights = ref(term.down)
    adapters.pin(model, (use(paths[1]),))
    _answer(adapters, model, pinned)
    del term, pinned
    assert weights() is None


def test_a_call_may_need_more_than_the_budget(tmp_path: Path) -> None:
    paths = [_write(tmp_path / f"{n}.safetensors", n) for n in range(3)]
    model, adapters = made.model(), Adapters(budget_bytes=int(1.1 * paths[0].stat().st_size))
    rows = [(use(path),) for path in paths]
    together = _answer(adapters, model, *(adapters.pin(model, row) for row in rows))
    assert difference(together, made.with_adapters(model, rows)) < 1e-6


def test_a_file_larger_than_the_budget_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.safetensors", 1)
    with pytest.raises(UnsupportedError, match="at most 1000 are kept for adapters"):
        Adapters(budget_bytes=1000).pin(made.model(), (use(path),))


def test_a_model_that_is_forgotten_leaves_nothing(tmp_path: Path) -> None:
    path, adapters = _write(tmp_path / "a.safetensors", 1), Adapters(budget_bytes=10**9)
    model, other = made.model(), made.model()
    for each in (model, other):
        _answer(adapters, each, adapters.pin(each, (use(path),)))
    whole = adapters.nbytes
    adapters.forget(model)
    assert adapters.nbytes == whole / 2
    adapters.forget(other)
    assert adapters.nbytes == 0


def test_adapters_pinned_for_another_model_are_not_left_out_silently(tmp_path: Path) -> None:
    path, adapters = _write(tmp_path / "a.safetensors", 1), Adapters(budget_bytes=10**9)
    pinned = adapters.pin(made.model(), (use(path),))
    with pytest.raises(RuntimeError, match="another model"):
        _answer(adapters, made.model(), pinned)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"<lora:gone>.*it cannot be read: No such file"):
        Adapters(budget_bytes=10**9).pin(made.model(), (use(tmp_path / "gone.safetensors"),))


def test_a_refused_file_among_good_ones_pins_nothing(tmp_path: Path) -> None:
    path, model, adapters = _write(tmp_path / "a.safetensors", 1), made.model(), Adapters(budget_bytes=10**9)
    before = made.run_unet(model.unet)
    (tmp_path / "cut.safetensors").write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UnsupportedError, match="no whole safetensors file"):
        adapters.pin(model, (use(path), use(tmp_path / "cut.safetensors")))
    assert torch.equal(made.run_unet(model.unet), before)
