"""Which device computes, and in which number format: decided here once, with the reason in the log.

torch is imported inside `choose`, because the data class is also read by parts that must start before torch
has loaded.
"""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sd_runtime.errors import DeviceError, UnsupportedError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

REQUESTS = ("auto", "cuda", "cpu")


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What people and the operator are told: cuda or cpu, the hardware's name, the format of the weights."""

    type: str
    name: str
    dtype: str


@dataclass(frozen=True, slots=True)
class Device:
    """The choice itself. `decoder_dtype` is wider than `dtype` on GPUs: VAEs overflow float16 (SDXL's
    always).
    """

    info: DeviceInfo
    handle: "torch.device"
    dtype: "torch.dtype"
    decoder_dtype: "torch.dtype"


def choose(request: str) -> Device:
    """`auto` takes a GPU if there is one; `cuda` without one is an error, never a slow surprise."""
    if request not in REQUESTS:
        raise UnsupportedError("SD_DEVICE", request, REQUESTS)
    if request == "cpu":
        return _cpu("asked for")
    absence = _why_no_cuda()
    if absence is None:
        return _cuda()
    if request == "cuda":
        raise DeviceError(f"no CUDA device: {absence}")
    return _cpu(f"no CUDA device: {absence}")


def _why_no_cuda() -> str | None:
    import torch

    if torch.version.cuda is None:
        return "this torch was built without CUDA"
    if not torch.cuda.is_available():
        return "torch finds no usable NVIDIA driver or GPU in this container"
    return None


def _cuda() -> Device:
    import torch

    handle = torch.device("cuda", torch.cuda.current_device())
    # float16 and not bfloat16: SD weights are made for it, and its longer mantissa shows in smooth areas.
    info = DeviceInfo(type="cuda", name=torch.cuda.get_device_name(handle), dtype="float16")
    logger.info("device cuda (%s), weights float16, VAE float32: a CUDA device is present", info.name)
    return Device(info, handle, torch.float16, torch.float32)


def _cpu(why: str) -> Device:
    import torch

    info = DeviceInfo(type="cpu", name=_cpu_name(), dtype="float32")
    logger.info("device cpu (%s), weights float32: %s", info.name, why)
    return Device(info, torch.device("cpu"), torch.float32, torch.float32)


def _cpu_name() -> str:
    import torch

    return f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
