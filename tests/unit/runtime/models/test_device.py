import pytest
import torch

from sd_runtime import device
from sd_runtime.errors import DeviceError, UnsupportedError


def test_the_cpu_computes_in_float32() -> None:
    chosen = device.choose("cpu")
    assert (chosen.info.type, chosen.info.dtype, chosen.dtype) == ("cpu", "float32", torch.float32)


def test_an_unknown_request_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(UnsupportedError, match=r"SD_DEVICE: 'tpu' .* auto, cuda, cpu"):
        device.choose("tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_cuda_without_a_gpu_is_an_error_and_auto_is_the_cpu() -> None:
    with pytest.raises(DeviceError, match=r"^no CUDA device: "):
        device.choose("cuda")
    assert device.choose("auto").info.type == "cpu"
