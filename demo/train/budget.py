"""How much each step of the training does: `FULL` makes the shipped models, `SMOKE` proves that the steps
run.

Steps of the optimizer, not minutes, so that a run can be repeated; the minutes that they took are in each
model's card.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """Optimizer steps of each training, and how many pictures it sees."""

    name: str
    checkpoint_seconds: float  # between two writes of a training's state
    judge_steps: int
    judge_pictures: int
    vae_steps: int
    vae_pictures: int
    latents: int
    base_steps: int
    companion_pictures: int
    gilded_steps: int
    midnight_steps: int
    embedding_steps: int
    hypernetwork_steps: int
    finetuned_vae_steps: int
    controlnet_steps: int
    controlnet_pictures: int
    concept_steps: int


FULL = Budget(
    name="full",
    checkpoint_seconds=60,
    judge_steps=2000,
    judge_pictures=24_000,
    vae_steps=1500,
    vae_pictures=12_000,
    latents=24_000,
    base_steps=3800,
    companion_pictures=1500,
    gilded_steps=150,
    midnight_steps=250,
    embedding_steps=150,
    hypernetwork_steps=150,
    finetuned_vae_steps=250,
    controlnet_steps=500,
    controlnet_pictures=3000,
    concept_steps=200,
)
SMOKE = Budget(
    name="smoke",
    checkpoint_seconds=0,
    judge_steps=2,
    judge_pictures=64,
    vae_steps=4,
    vae_pictures=32,
    latents=96,
    base_steps=6,
    companion_pictures=32,
    gilded_steps=2,
    midnight_steps=2,
    embedding_steps=2,
    hypernetwork_steps=2,
    finetuned_vae_steps=2,
    controlnet_steps=2,
    controlnet_pictures=32,
    concept_steps=2,
)
BUDGETS = {budget.name: budget for budget in (FULL, SMOKE)}
