"""A demand of the contract: a sentence, and a check that finds it met, broken, or not to be tried here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sd_plugin.conformance.probe import Probe


class Broken(Exception):
    """The demand is not met; the sentence tells what was seen in its place."""


class NotTried(Exception):
    """The demand cannot be tried with this plugin; the sentence tells why."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a plugin must do, and how that is seen."""

    sentence: str
    check: Callable[[Probe], None]


def must(holds: bool, otherwise: str) -> None:
    """Raises `Broken` with the sentence unless it holds."""
    if not holds:
        raise Broken(otherwise)
