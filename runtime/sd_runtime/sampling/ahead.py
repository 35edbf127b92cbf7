"""Noise that takes long, drawn before a sampler asks for it, so that nobody waits for it.

In the same order and by the same generator, so that every number is the one that would be drawn when it is
asked for. What a sampler will ask for is known from a rehearsal: neither its levels nor its noise depend on
what the network answers (but for an adaptive one's). Knows no threads.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch

from sd_runtime.sampling.estimate import Estimate
from sd_runtime.sampling.noise import Draw
from sd_runtime.sampling.walking import Course, Sampler

Way = tuple[float, float]  # a sigma, and the lower one after it


class Ahead:
    """A `Draw` with at most one draw in store. `prepare` may be called by any thread, while nobody else calls
    anything here."""

    def __init__(self, draw: Draw, ways: Callable[[], Iterable[Way]]) -> None:
        """`ways` are those that will be asked for, in order; it is called by `prepare`."""
        self._draw = draw
        self._find_ways = ways
        self._ways: tuple[Way, ...] | None = None
        self._asked = 0
        self._stored: tuple[Way, torch.Tensor] | None = None

    def prepare(self) -> None:
        """Draws what will be asked for next, if there is more to come."""
        if self._ways is None:
            self._ways = tuple(self._find_ways())
        if self._stored is None and self._asked < len(self._ways):
            way = self._ways[self._asked]
            self._stored = way, self._draw(*way)

    def __call__(self, sigma: float, after: float) -> torch.Tensor:
        """What was drawn for this way, or what is drawn for it now."""
        self._asked += 1
        stored, self._stored = self._stored, None
        if stored is None:
            return self._draw(sigma, after)
        way, noise = stored
        assert way == (sigma, after), "a rehearsal is to foretell what a sampler asks for"
        return noise


def rehearsed(sampler: Sampler, course: Course) -> list[Way]:
    """What the sampler will ask of `course.draw`, in order: it walks the whole way with a picture of one
    number and a network that sees nothing in it."""
    asked: list[Way] = []
    nothing = torch.zeros(1, 1, 1, 1)

    def note(sigma: float, after: float) -> torch.Tensor:
        asked.append((sigma, after))
        return nothing

    walk = sampler(nothing, replace(course, draw=note, step_done=lambda done: None))
    try:
        next(walk)
        while True:
            walk.send(Estimate(nothing))
    except StopIteration:
        return asked
