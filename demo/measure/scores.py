"""What each shipped model does, in numbers: the same seeds with and without it, read by the judge.

Each function returns the tables of one model's card and writes its contact sheet.
"""

from __future__ import annotations

from collections.abc import Callable

from demo.measure import base, companions, judging, loras
from demo.measure.bench import Bench
from demo.measure.table import Table

SCORES: dict[str, Callable[[Bench], list[Table]]] = {
    "judge": judging.judge,
    "demo-sd15": base.base,
    "demo-gilded": loras.gilded,
    "demo-midnight": loras.midnight,
    "demo-goldie": companions.goldie,
    "demo-blackout": companions.blackout,
    "demo-vae": companions.separate_vae,
    "demo-canny": companions.canny,
    "demo-crescent": companions.crescent,
    "upscalers": companions.upscalers,
}
