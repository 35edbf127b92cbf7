"""How a device says that its memory was too small. Knows no work and no remedy."""

import torch

#: How libraries of the device, and the processor's allocator, say it in a plain RuntimeError.
_WORDS = (
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: can't allocate memory",
)


def ran_out(error: BaseException) -> bool:
    """Whether this is the device's way of saying that its memory was too small."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)
