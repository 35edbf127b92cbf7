"""Files of strangers: whole or refused, whatever their bytes."""

from __future__ import annotations

import io
import json
import os
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from sd_runtime.adapters import files, naming
from sd_runtime.adapters.files import Content, Unusable

CPU = torch.device("cpu")
TENSORS = {
    "m.lora_down.weight": torch.arange(6.0).reshape(2, 3).half(),
    "m.lora_up.weight": torch.arange(8.0).reshape(4, 2),
    "m.alpha": torch.tensor(4, dtype=torch.int64),
    "n.alpha": torch.tensor([3.0]).bfloat16(),
}


def _read(path: Path, *, dtype: torch.dtype = torch.float32) -> Content:
    return files.read(path, device=CPU, dtype=dtype, limit=10**6)[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_come_in_the_wanted_format_and_numbers_as_they_are(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    save_file(TENSORS, tmp_path / "a.safetensors")
    content = _read(tmp_path / "a.safetensors", dtype=dtype)
    assert content.numbers == {"m.alpha": 4.0, "n.alpha": 3.0}
    assert {name: weight.dtype for name, weight in content.weights.items()} == {
        "m.lora_down.weight": dtype,
        "m.lora_up.weight": dtype,
    }
    assert torch.equal(content.weight("m.lora_down.weight"), TENSORS["m.lora_down.weight"].to(dtype))
    assert content.nbytes == 14 * dtype.itemsize


def test_a_file_of_torch_save_is_the_same_file(tmp_path: Path) -> None:
    torch.save({"state_dict": TENSORS}, tmp_path / "a.pt")
    content = _read(tmp_path / "a.pt")
    assert torch.equal(content.weight("m.lora_up.weight"), TENSORS["m.lora_up.weight"])
    assert content.numbers["m.alpha"] == 4.0


class _Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch /tmp/never",)


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path) -> None:
    torch.save({"x": _Evil()}, tmp_path / "a.pt")
    with pytest.raises(Unusable, match=r"posix\.system"):
        _read(tmp_path / "a.pt")


def test_data_that_begins_anywhere_is_read(tmp_path: Path) -> None:
    raw = save({"a.lora_up.weight": TENSORS["m.lora_up.weight"]})
    (length,) = struct.unpack_from("<Q", raw)
    head = json.dumps(json.loads(raw[8 : 8 + length])).encode()
    head += b" " * (1 - (len(head) + 8) % 2)  # odd
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + raw[8 + length :])
    assert torch.equal(
        _read(tmp_path / "a.safetensors").weight("a.lora_up.weight"), TENSORS["m.lora_up.weight"]
    )


def test_a_tensor_of_a_strange_format_is_missed_only_when_it_is_asked_for(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2, 2, dtype=torch.bool), "b": torch.tensor(True)}, tmp_path / "a.safetensors")
    content = _read(tmp_path / "a.safetensors")
    assert (content.weights, content.numbers) == ({}, {})
    with pytest.raises(Unusable, match="of the dtype BOOL; allowed are matrices of F64"):
        content.weight("a")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_bytes_that_were_changed_are_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    ending = data.draw(st.sampled_from([".safetensors", ".pt"]))
    if ending == ".pt":
        buffer = io.BytesIO()
        torch.save(TENSORS, buffer)
        raw = bytearray(buffer.getvalue())
    else:
        raw = bytearray(save(TENSORS))
    for at in data.draw(st.lists(st.integers(0, min(len(raw), 600) - 1), max_size=4)):
        raw[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)) | st.none())
    path = tmp_path / f"changed{ending}"
    path.write_bytes(raw if cut is None else raw[:cut])
    try:
        _read(path)
    except Unusable as error:
        assert str(error)


@given(st.text(max_size=60))
@example("lora_A")
def test_any_name_of_a_tensor_is_parsed_or_is_none(name: str) -> None:
    parsed = naming.parse(f"lora_unet_{name}.lora_up.weight")
    assert parsed is None or parsed[1] == "up"
    naming.parse(name)
