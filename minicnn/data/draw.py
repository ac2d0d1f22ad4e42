"""Random numbers for augmentation: a pure function of (seed, name, epoch, sample)."""

from __future__ import annotations

import numpy as np

from .. import random
from ..errors import ArgumentError, check


class Draw:
    """Uniform random numbers for the samples of one batch.

    What a sample gets depends on the seed, the epoch, the name of the draw and the sample's index in the dataset, and on
    nothing else: not on the batch it lands in, its size, the thread, or what was drawn before.

    seed: 0 .. 2**32 - 1      epoch: 0 or more      samples: indices (N,) into the dataset
    """

    def __init__(self, seed: int, epoch: int, samples: np.ndarray, *, within: str = "data", tables: dict | None = None):
        self.seed, self.epoch, self.samples = seed, epoch, np.asarray(samples)
        good = not self.samples.size or (self.samples.dtype.kind in "iu" and self.samples.min() >= 0)
        if not good or self.samples.ndim != 1:  # not check(): the message would be made for every batch
            raise ArgumentError(f"Draw: samples is {samples!r}: it must be indices (N,) into the dataset, at least 0")
        self._within = within
        # One table for each name, shared by the batches of an epoch: a block of Philox numbers for each sample.
        self._tables: dict[tuple[str, int], np.ndarray] = {} if tables is None else tables

    def within(self, name: str) -> Draw:
        """The same samples under a longer name, so that two equal transforms draw different numbers."""
        return Draw(self.seed, self.epoch, self.samples, within=f"{self._within}.{name}", tables=self._tables)

    def __call__(self, name: str, count: int = 1) -> np.ndarray:
        """`count` numbers in [0, 1) for each sample: float64 (N, count). The same call gives the same numbers."""
        check(count >= 1, f"draw: count is {count!r}: it must be at least 1")
        if not self.samples.size:
            return np.empty((0, count))
        stream, words = f"{self._within}.{name}", -(-count // 4) * 4
        table = self._tables.get((stream, words))
        if table is None or len(table) <= self.samples.max():
            rows = 1 << int(self.samples.max()).bit_length()
            table = random.uniform(random.key(stream, self.epoch, self.seed), rows * words).reshape(rows, words)
            self._tables[stream, words] = table
        return table[self.samples, :count]


def integers(uniform: np.ndarray, limit: int) -> np.ndarray:
    """Whole numbers in 0 .. limit - 1 from uniforms in [0, 1)."""
    return (uniform * limit).astype(np.intp)


def normal(uniform: np.ndarray) -> np.ndarray:
    """Standard normal numbers (N, M) from uniforms (N, 2*M).

    Source: Box and Muller 1958, doi:10.1214/aoms/1177706645.
    """
    half = uniform.shape[1] // 2
    return np.sqrt(-2 * np.log1p(-uniform[:, :half])) * np.cos(2 * np.pi * uniform[:, half:])
