"""Which adapters a picture is made with and how strongly: plain data, importable without torch."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

#: Of LoRAs, those that are served.
LORA_KINDS = ("LoRA", "LoHa", "LoKr")


class AdapterKind(StrEnum):
    """What an adapter's file holds."""

    LORA = "LoRA"
    HYPERNETWORK = "Hypernetwork"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterUse:
    """One adapter at one strength, applied to every row of a picture, guided or not."""

    kind: AdapterKind
    path: Path
    #: Strength in the U-Net.
    unet: float = 1.0
    #: Strength in the text encoders; hypernetworks have none there.
    text: float = 1.0
    #: Rank that a LoRA is cut to (A1111's `dyn`); None: its own.
    rank: int | None = None
