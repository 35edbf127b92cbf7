import logging

import pytest
import torch

from sd_runtime import device
from sd_runtime.errors import DeviceError, UnsupportedError

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")


@pytest.mark.parametrize(
    ("asked", "chosen", "dtype"),
    [
        ("auto", "float32", torch.float32),
        ("float32", "float32", torch.float32),
        ("bfloat16", "bfloat16", torch.bfloat16),
    ],
)
def test_the_cpu_computes_in_float32_unless_asked(asked: str, chosen: str, dtype: torch.dtype) -> None:
    found = device.choose("cpu", dtype=asked)
    assert (found.info.type, found.info.dtype, found.dtype) == ("cpu", chosen, dtype)
    assert found.decoder_dtype is torch.float32


def test_the_reason_of_the_choice_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        device.choose("cpu", dtype="bfloat16")
    assert caplog.messages[-1].startswith("device cpu (")
    assert caplog.messages[-1].endswith("weights bfloat16 (asked for): asked for")


@pytest.mark.parametrize(
    ("request_", "dtype", "message"),
    [
        ("tpu", "auto", r"SD_DEVICE: 'tpu' .* auto, cuda, cpu"),
        ("cpu", "int8", r"SD_DTYPE: 'int8' .* auto, float32, float16, bfloat16"),
        ("cpu", "float16", r"SD_DTYPE: 'float16' .* auto, float32, bfloat16 on a processor"),
    ],
)
def test_what_is_unknown_or_cannot_be_is_refused_with_what_is_allowed(
    request_: str, dtype: str, message: str
) -> None:
    with pytest.raises(UnsupportedError, match=message):
        device.choose(request_, dtype=dtype)


@without_gpu
def test_cuda_without_a_gpu_is_an_error_and_auto_is_the_cpu() -> None:
    with pytest.raises(DeviceError, match="no CUDA device"):
        device.choose("cuda")
    assert device.choose("auto").info.type == "cpu"


def test_on_the_cpu_networks_stay_as_they_are() -> None:
    network = torch.nn.Conv2d(4, 4, 3)
    chosen = device.choose("cpu", compiles=True)
    assert chosen.settle(network) is network
    assert not chosen.compiles


@pytest.mark.parametrize(
    ("capability", "built", "runs"),
    [
        ((7, 5), ("sm_70", "sm_75", "sm_90"), True),
        ((8, 6), ("sm_75", "sm_80", "sm_90"), True),  # machine code of 8.0 is good for all 8.x
        ((8, 0), ("sm_75", "sm_86"), False),  # that of a later 8.x is not
        ((6, 1), ("sm_70", "sm_75", "sm_90"), False),
        ((12, 0), ("sm_90", "compute_90"), True),  # compiled by the driver
        ((8, 9), ("compute_90",), False),
        ((9, 0), ("sm_90a",), True),
        ((10, 3), ("sm_100f",), True),
        ((9, 0), ("gfx942",), False),
        ((9, 0), (), False),
    ],
)
def test_a_card_is_used_where_the_build_has_code_for_it(
    capability: tuple[int, int], built: tuple[str, ...], runs: bool
) -> None:
    assert device.has_code_for(capability, built) is runs


@without_gpu
def test_a_process_that_computes_on_no_gpu_has_no_memory_of_one() -> None:
    assert device.memory() is None
