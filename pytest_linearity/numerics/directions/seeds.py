"""Where random values come from: seeds, by direction, parameter and draw block."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from pytest_linearity.numerics.directions.layout import block_sizes

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each parameter in scope, by canonical name."""


class Chance:
    """The random numbers of all directions of one seed.

    They depend on the seed, the direction's index and the parameter's canonical name and shape
    alone: not on the order of drawing, nor on what else is drawn.
    """

    def __init__(self, seed: int, shapes: Shapes) -> None:
        """The numbers of one seed, for the parameters in scope."""
        self._seed = seed
        self.shapes = shapes

    def block_seeds(self, k: int, name: str, what: str = "values") -> NDArray[np.uint32]:
        """A seed for each draw block of a parameter."""
        # The Mersenne Twister of torch takes 32 bits of a seed. Two of n blocks coincide with
        # probability n²/2³³, and would then be parallel: of no weight among so many.
        blocks = len(block_sizes(self.shapes[name]))
        return self._sequence(k, name, what).generate_state(blocks, np.uint32).astype(np.uint32)

    def squared_norms(self, k: int, name: str) -> NDArray[np.float64]:
        """χ² draws, one for each draw block of a parameter, with as many degrees as entries."""
        freedom = np.array(block_sizes(self.shapes[name]), dtype=np.float64)
        generator = np.random.Generator(np.random.PCG64(self._sequence(k, name, "norms")))
        return generator.chisquare(freedom)

    def squared_norm(self, k: int, names: Iterable[str]) -> float:
        """Their sum over several parameters."""
        # Summed in the order of the names, not of the scope: floating-point sums know their order.
        return sum(float(self.squared_norms(k, name).sum()) for name in sorted(names))

    def _sequence(self, k: int, name: str, what: str) -> np.random.SeedSequence:
        key = "\0".join((str(self._seed), str(k), name, what)).encode()
        return np.random.SeedSequence(
            int.from_bytes(hashlib.blake2b(key, digest_size=16).digest(), "big")
        )
