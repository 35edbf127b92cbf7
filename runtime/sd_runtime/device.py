"""Which device computes, in which number format and memory layout: decided here once, with the reason in the
log.

torch is imported inside `choose`, because the data class is also read by parts that must start before torch
has loaded.
"""

import logging
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sd_runtime.errors import DeviceError, UnsupportedError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

REQUESTS = ("auto", "cuda", "cpu")
FORMATS = ("auto", "float32", "float16", "bfloat16")
#: Processors compute float16 in software.
_CPU_FORMATS = ("auto", "float32", "bfloat16")
_ARCHITECTURE = re.compile(r"(sm|compute)_(\d+)(\d)[af]?")
#: NVIDIA's first generation that computes bfloat16 itself (Ampere).
_FIRST_WITH_BFLOAT16 = (8, 0)


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
    #: Whether the weights of convolutions lie with the channels last, as tensor cores want them.
    channels_last: bool = False
    #: Whether the blocks that a network repeats are compiled when they first run.
    compiles: bool = False

    def settle(self, network: Any) -> Any:
        """A network as it is to lie in this device's memory."""
        if not self.channels_last:
            return network
        import torch

        return network.to(memory_format=torch.channels_last)

    def compile(self, network: Any) -> None:
        """Let the network's repeated blocks be compiled at their first run, if that is wanted: once for all
        of a kind, and for every size of picture."""
        if self.compiles:
            network.compile_repeated_blocks(dynamic=True)


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Of a GPU, in bytes: what the card has and has left; what this process holds of it for tensors
    (`allocated`), with those freed whose kernels may still run (`active`), and with what its allocator keeps
    for reuse (`reserved`), of which `inactive` are pieces of blocks whose other pieces are in use; and the
    most of each since the engine last measured a call of the network."""

    total: int
    free: int
    allocated: int
    most_allocated: int
    active: int
    most_active: int
    reserved: int
    most_reserved: int
    inactive: int
    most_inactive: int
    #: How often the allocator had to give back what it kept before there was room, and how often that was
    #: not enough.
    retries: int
    ran_out: int

    def by_kind(self) -> dict[str, int]:
        """What is there and what is held now, for a metric."""
        return {
            "total": self.total,
            "free": self.free,
            "allocated": self.allocated,
            "reserved": self.reserved,
        }


def memory() -> DeviceMemory | None:
    """Of the GPU that this process computes on; None where it uses none (yet). From any thread."""
    # Whoever computes has imported it; asking must not be what loads it.
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    free, total = torch.cuda.mem_get_info()
    stats = torch.cuda.memory_stats_as_nested_dict()
    allocated, active, reserved, inactive = (
        stats[f"{kind}_bytes"]["all"] for kind in ("allocated", "active", "reserved", "inactive_split")
    )
    return DeviceMemory(
        total=total,
        free=free,
        allocated=allocated["current"],
        most_allocated=allocated["peak"],
        active=active["current"],
        most_active=active["peak"],
        reserved=reserved["current"],
        most_reserved=reserved["peak"],
        inactive=inactive["current"],
        most_inactive=inactive["peak"],
        retries=stats["num_alloc_retries"],
        ran_out=stats["num_ooms"],
    )


def choose(
    request: str, *, dtype: str = "auto", compiles: bool = False, compile_cache: Path | None = None
) -> Device:
    """`auto` takes a GPU if there is one; `cuda` without one is an error, never a slow surprise.

    `dtype` is one of `FORMATS`; `compiles` counts on CUDA only, and what was compiled is kept in the folder
    `compile_cache`. Raises `UnsupportedError` and `DeviceError`.
    """
    if request not in REQUESTS:
        raise UnsupportedError("SD_DEVICE", request, REQUESTS)
    if dtype not in FORMATS:
        raise UnsupportedError("SD_DTYPE", dtype, FORMATS)
    if request == "cpu":
        return _cpu("asked for", dtype)
    absence = _why_no_cuda()
    if absence is None:
        return _cuda(dtype, compiles, compile_cache)
    if request == "cuda":
        raise DeviceError(f"no CUDA device: {absence}")
    return _cpu(f"no CUDA device: {absence}", dtype)


def _why_no_cuda() -> str | None:
    import torch

    if torch.version.cuda is None:
        return "this torch was built without CUDA"
    if not torch.cuda.is_available():
        return "torch finds no usable NVIDIA driver or GPU in this container"
    capability = torch.cuda.get_device_capability()
    if not has_code_for(capability, torch.cuda.get_arch_list()):
        return (
            f"{torch.cuda.get_device_name()} has compute capability {capability[0]}.{capability[1]}, for"
            f" which this torch has no code (it has some for {', '.join(torch.cuda.get_arch_list())})"
        )
    return None


def has_code_for(capability: tuple[int, int], built: Sequence[str]) -> bool:
    """Whether a build for these architectures (sm_86: machine code, for 8.6 and later 8.x; compute_90: an
    intermediate form, for 9.0 and all later ones) runs on a card of that compute capability."""
    for known in filter(None, map(_ARCHITECTURE.fullmatch, built)):
        kind, of = known[1], (int(known[2]), int(known[3]))
        if of <= capability and (kind == "compute" or of[0] == capability[0]):
            return True
    return False


def _cuda(dtype: str, compiles: bool, compile_cache: Path | None) -> Device:
    import torch

    handle = torch.device("cuda", torch.cuda.current_device())
    name = torch.cuda.get_device_name(handle)
    if dtype == "bfloat16" and torch.cuda.get_device_capability(handle) < _FIRST_WITH_BFLOAT16:
        raise UnsupportedError("SD_DTYPE", dtype, f"auto, float32, float16 on {name}, which has no bfloat16")
    # SD weights are made for float16, and its longer mantissa shows in smooth areas.
    chosen = "float16" if dtype == "auto" else dtype
    # TensorFloat-32 has float16's mantissa: enough for a float16 network's VAE, whose convolutions it makes
    # faster, but not what is meant by float32, where pictures then depended on who shares a call.
    torch.backends.cudnn.allow_tf32 = chosen != "float32"
    if compiles and compile_cache is not None:
        # Read by torch's compiler when it first compiles; it has no other way to be told.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(compile_cache)
    logger.info(
        "device cuda (%s), weights %s (%s), VAE float32, channels last, %s: a CUDA device is present",
        name,
        chosen,
        _why(dtype, "what SD weights are made for"),
        f"repeated blocks compiled, kept in {compile_cache}" if compiles else "nothing compiled",
    )
    info = DeviceInfo(type="cuda", name=name, dtype=chosen)
    return Device(info, handle, _torch_format(chosen), torch.float32, channels_last=True, compiles=compiles)


def _cpu(why: str, dtype: str) -> Device:
    import torch

    if dtype not in _CPU_FORMATS:
        raise UnsupportedError("SD_DTYPE", dtype, f"{', '.join(_CPU_FORMATS)} on a processor")
    chosen = "float32" if dtype == "auto" else dtype
    info = DeviceInfo(type="cpu", name=_cpu_name(), dtype=chosen)
    logger.info(
        "device cpu (%s), weights %s (%s): %s", info.name, chosen, _why(dtype, "the processor's own"), why
    )
    return Device(info, torch.device("cpu"), _torch_format(chosen), torch.float32)


def _why(dtype: str, reason: str) -> str:
    return reason if dtype == "auto" else "asked for"


def _torch_format(name: str) -> "torch.dtype":
    import torch

    return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[name]


def _cpu_name() -> str:
    import torch

    return f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
