"""The normal numbers of torch's generator on NVIDIA's GPUs, computed on the host: A1111's source "NV".

Philox 4x32-10 (Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3") with cuRAND's form of the
Box-Muller transform, counted as torch counts: the seed is the key, a tensor's element its subsequence, and
each tensor drawn moves the offset on by one. Knows no torch.
"""

import math

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]  # each holds 32 bits
Normals = npt.NDArray[np.float32]

ROUNDS = 10
MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
#: The golden ratio and sqrt(3) - 1, added to the key after each round.
KEY_STEPS = 0x9E3779B9, 0xBB67AE85
LOW = np.uint64(0xFFFFFFFF)
WORD = np.uint64(32)

#: Elements that are computed at once: what lies between is still in the processor's cache.
BLOCK = 4096

INVERSE_2_POW_32 = np.float32(2.3283064e-10)
INVERSE_2_POW_32_2PI = np.float32(2.3283064e-10 * 2 * math.pi)


class Philox:
    """One generator. The same numbers as torch's on a GPU that runs a thread for every element (every GPU
    does for latents up to some 200,000 numbers)."""

    def __init__(self, seed: int) -> None:
        """`seed` is taken modulo 2^64, as torch does."""
        self._key = seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF
        self._offset = 0

    def normal(self, shape: tuple[int, ...]) -> Normals:
        """The next tensor of this shape: mean 0, variance 1."""
        normals = np.empty(math.prod(shape), np.float32)
        for start in range(0, len(normals), BLOCK):
            normals[start : start + BLOCK] = self._block(start, min(start + BLOCK, len(normals)))
        self._offset += 1
        return normals.reshape(shape)

    def _block(self, start: int, end: int) -> Normals:
        """The numbers of these elements of the next tensor."""
        zeros = np.zeros(end - start, np.uint64)
        offset, elements = zeros + np.uint64(self._offset), np.arange(start, end, dtype=np.uint64)
        first, second, _, _ = philox((offset, zeros, elements, zeros), self._key)
        return _box_muller(first, second)


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[int, int]) -> tuple[Words, ...]:
    """Four random words per counter of four words."""
    a, b, c, d = counter
    for _ in range(ROUNDS):
        ac, cc = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, b, c, d = (
            (cc >> WORD) ^ b ^ np.uint64(key[0]),
            cc & LOW,
            (ac >> WORD) ^ d ^ np.uint64(key[1]),
            ac & LOW,
        )
        key = (key[0] + KEY_STEPS[0]) & 0xFFFFFFFF, (key[1] + KEY_STEPS[1]) & 0xFFFFFFFF
    return a, b, c, d


def _box_muller(first: Words, second: Words) -> Normals:
    """The sine branch of the pair, in single precision as on the device."""
    u = first.astype(np.float32) * INVERSE_2_POW_32 + INVERSE_2_POW_32 / np.float32(2)
    v = second.astype(np.float32) * INVERSE_2_POW_32_2PI + INVERSE_2_POW_32_2PI / np.float32(2)
    normals: Normals = np.sqrt(np.float32(-2) * np.log(u)) * np.sin(v)
    return normals
