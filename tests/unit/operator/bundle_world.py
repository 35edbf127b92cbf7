"""A bundle whose files are there, and how time passes for it."""

from typing import Any

from operator_fakes import SHA, timestamp
from operator_world import BUNDLE, World

from sd_operator import names

BASE = "models/Stable-diffusion/base.safetensors"


GONE = {"name": "base", "path": BASE, "sha256": SHA}


def status(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.cluster.one(names.MODELBUNDLE, "sd15")["status"]
    return found


def age(world: World, *, ago: float) -> None:
    """As if the last verification, readiness and departures had been this long ago."""
    told = status(world)
    for condition in told["conditions"]:
        condition["lastTransitionTime"] = timestamp(ago=ago)
    if "verification" in told:
        told["verification"]["time"] = timestamp(ago=ago)
    for leaving in told.get("leaving", ()):
        leaving["since"] = timestamp(ago=ago)


async def rounds(world: World, count: int = 6) -> None:
    """The bundle's rounds alone: the instance has others."""
    for _ in range(count):
        await world.bundles.reconcile(BUNDLE)
        world.controllers.step()
