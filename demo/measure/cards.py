"""The model cards: a README.md beside each file, its text from `texts/`, its numbers from the scores.

The numbers stand beside it as scores.json too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from string import Template
from typing import Any

from demo.measure.table import Table
from demo.train import networks

TEXTS = Path(__file__).parent / "texts"


def write_scores(models: Path, name: str, tables: Sequence[Table]) -> None:
    """Keeps the tables of a model as scores.json, of which the card is made."""
    stored = [asdict(table) for table in tables]
    (models / name / "scores.json").write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n")


def write(models: Path, name: str) -> None:
    """Writes one model's card from its text, its scores and the manifest."""
    manifest = json.loads((models / "manifest.json").read_text())
    made = manifest["made"]
    trainings = {step.replace("-", "_"): _minutes(record) for step, record in made["trainings"].items()}
    text = Template((TEXTS / f"{name}.md").read_text()).substitute(
        files=_files(manifest["files"], name),
        scores="\n\n".join(table.markdown() for table in read_scores(models, name)),
        machine=made["machine"],
        unet_channels=", ".join(map(str, networks.UNET_CHANNELS)),
        vae_channels=", ".join(map(str, networks.VAE_CHANNELS)),
        text_width=networks.TEXT_WIDTH,
        **trainings,
    )
    (models / name / "README.md").write_text(text)


def read_scores(models: Path, name: str) -> list[Table]:
    """The tables of a model's card."""
    stored = json.loads((models / name / "scores.json").read_text())
    return [Table(t["says"], tuple(t["header"]), tuple(map(tuple, t["rows"]))) for t in stored]


def _files(entries: Sequence[dict[str, Any]], name: str) -> str:
    rows = [
        f"| `{Path(entry['path']).name}` | {entry['type'] or ''} | {entry['size']:,} | `{entry['sha256']}` |"
        for entry in entries
        if entry["path"].startswith(f"{name}/")
    ]
    return "\n".join(["| file | type | bytes | SHA-256 |", "|---|---|---|---|", *rows])


def _minutes(record: dict[str, float]) -> str:
    return f"{record['steps']} steps, {record['minutes']:g} minutes"
