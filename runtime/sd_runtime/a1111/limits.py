"""How much one request may ask for on this server. Pure."""

from dataclasses import dataclass

from sd_runtime.errors import UnsupportedError
from sd_runtime.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The settings that limit a request."""

    steps: int = 150
    #: Pixels.
    side: int = 2048
    #: Of all pictures together: they are in memory at once until the answer is sent.
    pixels: int = 64 * 1024 * 1024
    batch_size: int = 8
    iterations: int = 16

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """As the process was told at start."""
        return cls(
            steps=settings.max_steps,
            side=settings.max_side,
            pixels=settings.max_pixels_per_request,
            batch_size=settings.max_batch_size,
            iterations=settings.max_iterations,
        )

    def judge_counts(self, *, batch_size: int, n_iter: int) -> None:
        """Raises `UnsupportedError` for too many pictures at once, or one after the other."""
        _at_most("batch_size", batch_size, self.batch_size)
        _at_most("n_iter", n_iter, self.iterations)

    def judge_steps(self, field: str, steps: int) -> None:
        """Raises `UnsupportedError` for too many steps in one pass."""
        _at_most(field, steps, self.steps)

    def judge_side(self, field: str, pixels: int) -> None:
        """Raises `UnsupportedError` for a side that is too long."""
        _at_most(field, pixels, self.side)

    def judge_pixels(self, *, pictures: int, width: int, height: int) -> None:
        """Raises `UnsupportedError` for pictures that are too many for their size."""
        pixels = pictures * width * height
        if pixels > self.pixels:
            allowed = f"{self.pixels} pixels in one request"
            raise UnsupportedError("batch_size x n_iter x width x height", pixels, allowed)


def _at_most(field: str, value: int, most: int) -> None:
    if value > most:
        raise UnsupportedError(field, value, f"at most {most} on this server")
