"""What the engine is given at start. Importable without torch."""

from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Where it computes, and how much it may keep."""

    #: auto, cuda or cpu.
    device: str = "auto"
    #: auto, float32, float16 or bfloat16.
    dtype: str = "auto"
    #: Most evaluations in one call of the network.
    max_batch: int = 16
    #: Join only as many as was measured to pay; otherwise always as many as there are, up to the most.
    measured_batch: bool = True
    #: Bytes of checkpoints that are kept beside each other; less than two of them take: one at a time.
    checkpoint_bytes: int = 0
    #: Bytes of LoRAs and hypernetworks that are kept for later requests.
    adapter_bytes: int = 1024 * MIB
    #: Bytes of ControlNets that are kept for later requests; those in use stay however large they are.
    controlnet_bytes: int = 3 * 1024 * MIB
    #: Whether files are read that only a pickle reader can open.
    allow_pickles: bool = False
    #: Whether the network's repeated blocks are compiled (CUDA only).
    compile: bool = False
    #: Where what was compiled is kept; None: nowhere.
    compile_cache: Path | None = None
