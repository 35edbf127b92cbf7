"""Adapters are inputs of a row: neighbours do not see them, and the networks are as before afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch

from sd_runtime.adapters.patching import Adapters
from sd_runtime.adapters.uses import AdapterUse
from tests.unit.runtime.adapters import made
from tests.unit.runtime.adapters.made import difference, hypernet, use
from tests.unit.runtime.adapters.test_hypernetwork import write_hypernetwork


@pytest.fixture
def uses(tmp_path: Path) -> dict[str, AdapterUse]:
    unet = made.unet()
    for name, make, seed in (("a", made.lora(), 1), ("b", made.lora(rank=5), 2), ("c", made.loha, 3)):
        made.file_and_fused(tmp_path / f"{name}.safetensors", {"unet": unet}, make, seed=seed)
    write_hypernetwork(tmp_path / "h.pt", (made.WIDTH, 16, 32))
    found = {name: use(tmp_path / f"{name}.safetensors") for name in "abc"}
    return {**found, "h": hypernet(tmp_path / "h.pt", 0.5), "weak a": use(found["a"].path, unet=0.3)}


# Rows of one call, in the order in which the engine has them: first those of the negative prompts.
BATCHES = (
    ("", "a"),
    ("a", "", "a", ""),
    ("a", "b", "c", "a", "b", "c"),
    ("a", "weak a", "", "a b", "b a", "h", "a h", "a"),
    ("h", "h", "a c h", ""),
)


@pytest.mark.parametrize("batch", BATCHES)
def test_a_row_amid_others_is_as_it_is_alone(batch: tuple[str, ...], uses: dict[str, AdapterUse]) -> None:
    model = made.model()
    rows = [tuple(uses[name] for name in _names(row)) for row in batch]
    together = made.with_adapters(model, rows)
    for index, row in enumerate(rows):
        alone = made.with_adapters(model, [row] * len(rows))[index]
        assert difference(together[index], alone) < 1e-5


def _names(row: str) -> list[str]:
    return ["weak a"] if row == "weak a" else row.split()


def test_several_loras_add_up(tmp_path: Path) -> None:
    model = made.model()
    fused = model.unet
    for seed in (1, 2):
        path = tmp_path / f"{seed}.safetensors"
        fused = made.file_and_fused(path, {"unet": fused}, made.lora(), seed=seed, strength=0.5)["unet"]
    row = tuple(use(tmp_path / f"{seed}.safetensors", unet=0.5) for seed in (1, 2))
    assert difference(made.with_adapters(model, [row]), made.run_unet(fused)) < 1e-5


def test_rows_without_adapters_and_zero_strengths_leave_the_networks_alone(
    uses: dict[str, AdapterUse],
) -> None:
    model = made.model()
    adapters = Adapters(budget_bytes=10**9)
    absent = use(uses["a"].path.with_name("not-there.safetensors"), unet=0, text=0)
    nothing = adapters.pin(model, ())
    assert nothing == adapters.pin(model, (absent,))
    assert not nothing.files
    with (
        adapters.on_unet(model, [nothing, None]),
        adapters.on_text(model, adapters.pin(model, (absent, uses["h"]))),
    ):
        for network in (model.unet, cast(Any, model.text).network):
            assert not any("forward" in vars(module) for module in network.modules())


def test_the_networks_are_as_before_after_the_block_even_if_it_fails(uses: dict[str, AdapterUse]) -> None:
    model, adapters = made.model(), Adapters(budget_bytes=10**9)
    before = made.run_unet(model.unet, 2)
    with (
        pytest.raises(ZeroDivisionError),
        adapters.on_unet(model, [adapters.pin(model, (uses[name],)) for name in "ah"]),
    ):
        _ = 1 / 0
    assert torch.equal(made.run_unet(model.unet, 2), before)
    assert not any("forward" in vars(module) for module in model.unet.modules())


def test_a_lora_of_numbers_that_are_none_spoils_its_own_row_only(
    tmp_path: Path, uses: dict[str, AdapterUse]
) -> None:
    model = made.model()

    def poisoned(module: torch.nn.Module, generator: torch.Generator) -> tuple[made.Tensors, torch.Tensor]:
        parts, change = made.lora()(module, generator)
        return {name: value * float("nan") for name, value in parts.items()}, change

    made.file_and_fused(tmp_path / "nan.safetensors", {"unet": model.unet}, poisoned)
    rows = [(uses["a"],), (use(tmp_path / "nan.safetensors"),), ()]
    answer = made.with_adapters(model, rows)
    assert [bool(torch.isfinite(row).all()) for row in answer] == [True, False, True]


def test_convolutions_that_wrap_around_do_so_with_a_lora_too(tmp_path: Path) -> None:
    model = made.model()
    path = tmp_path / "a.safetensors"
    fused = made.file_and_fused(path, {"unet": model.unet}, made.lora())["unet"]
    for network in (model.unet, fused):
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.padding_mode = "circular"
    changed = made.with_adapters(model, [(use(path),)])
    assert difference(changed, made.run_unet(fused)) < 1e-5


def test_compiled_blocks_compute_with_their_rows_adapters_too(tmp_path: Path) -> None:
    model = made.model()
    path = tmp_path / "a.safetensors"
    fused = made.file_and_fused(path, {"unet": model.unet}, made.lora())["unet"]
    model.unet.mid_block.compile(backend="eager")
    plain = made.run_unet(model.unet)
    changed = made.with_adapters(model, [(use(path),)])
    assert difference(changed, made.run_unet(fused)) < 1e-5
    assert difference(made.run_unet(model.unet), plain) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_adapters_are_computed_in_the_models_number_format(
    dtype: torch.dtype, uses: dict[str, AdapterUse]
) -> None:
    model, exact = made.model(dtype=dtype), made.model()
    rows = [(uses["a"], uses["h"]), (uses["c"],)]
    adapters = Adapters(budget_bytes=10**9)
    x, times, context = torch.randn(2, 4, 8, 8), torch.tensor([500.0, 20.0]), torch.randn(2, 7, made.WIDTH)
    with torch.inference_mode(), adapters.on_unet(model, [adapters.pin(model, row) for row in rows]):
        answer = model.unet(x.to(dtype), times, context.to(dtype), return_dict=False)[0]
    with torch.inference_mode(), adapters.on_unet(exact, [adapters.pin(exact, row) for row in rows]):
        reference = exact.unet(x, times, context, return_dict=False)[0]
    assert answer.dtype == dtype
    assert difference(answer.float(), reference) < (0.2 if dtype == torch.bfloat16 else 0.03)
