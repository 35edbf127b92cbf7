"""How well the judge reads drawings, of which it must be sure before it may judge pictures."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from demo.draw.drawing import PLAIN, Style
from demo.judge import train as judging
from demo.judge.reading import Judge
from demo.measure import sheets
from demo.measure.bench import Bench
from demo.measure.table import Table, percent

PLAIN_LOOK = (PLAIN, (64, 64))
UNSEEN_LOOK = (Style(oversampling=3, tone_jitter=12, turn_degrees=10), (72, 72))


def judge(bench: Bench) -> list[Table]:
    """The judge itself, on drawings of other seeds, in looks that it was trained on and in others."""
    conditions = [
        ("as in its training", judging.draw(4 * bench.prompts, seed=900_000)),
        ("as the models' pictures are", judging.draw(bench.prompts, seed=900_001, looks=(PLAIN_LOOK,))),
        *(
            (
                f"{side}x{side}",
                judging.draw(bench.companions, seed=900_000 + side, looks=((PLAIN, (side, side)),)),
            )
            for side in (128, 256, 512)
        ),
        (
            "turned, a way to draw that it never saw",
            judging.draw(bench.prompts, seed=900_002, looks=(UNSEEN_LOOK,)),
        ),
    ]
    rows = []
    for name, (drawn, targets) in conditions:
        shares = judged(bench.judge, drawn, targets)
        rows.append((f"{name} ({len(drawn)})", *(percent(share) for share in shares.values())))
    bench.sheet("judge", sheets.grid(conditions[0][1][0][:64]))
    return [Table("Attributes read right on held-out drawings:", ("drawn", *shares), tuple(rows))]


def judged(reader: Judge, drawn: torch.Tensor, targets: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """For each attribute, the share of the drawings that have it and are read right."""
    shares = {}
    for name, values in reader.scores(drawn).items():
        asked = targets[name] != judging.IGNORED
        shares[name] = float((values.argmax(dim=1) == targets[name])[asked].float().mean())
    return shares
