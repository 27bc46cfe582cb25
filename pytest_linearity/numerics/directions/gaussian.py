"""Directions that are uniform on the unit sphere.

Drawing one the usual way (a Gaussian vector over its norm) needs the whole vector before the first
entry is known. Here the squared norm of every *draw block*, a few rows of one tensor, is drawn
first: for a Gaussian vector it is chi-squared with as many degrees of freedom as the block has
entries, and independent of the block's own direction, which is uniform on its sphere. So

    δ_b = z_b / ‖z_b‖ · √(s_b / Σ s),    z_b ~ N(0, I),  s_b ~ χ²(d_b),

has the same distribution (G. Marsaglia, Choosing a point from the surface of a sphere, 1972, for
the Gaussian construction), and a block costs nothing but itself.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytest_linearity.numerics.directions.base import Kind
from pytest_linearity.numerics.directions.parts import Fill, Part
from pytest_linearity.numerics.directions.seeds import Chance


class Gaussian(Kind):
    """Directions uniform on the sphere of all parameters in scope together."""

    label = "uniform on the unit sphere"

    def __init__(self, chance: Chance, count: int) -> None:
        """As many directions as are asked for; the norms of all their draw blocks are drawn now."""
        self.count = count
        self._chance = chance
        self._totals = [chance.squared_norm(k, chance.shapes) for k in range(count)]

    def part(self, k: int, name: str) -> Part:
        """The part of direction k that belongs to one parameter."""
        norms = np.sqrt(self._chance.squared_norms(k, name) / self._totals[k])
        return GaussianPart(self._chance, k, name, norms)


class GaussianPart(Part):
    """Draw blocks of given norms, each uniform on its sphere."""

    def __init__(self, chance: Chance, k: int, name: str, norms: NDArray[np.float64]) -> None:
        """Plan the part of direction k; `norms` are those of the draw blocks."""
        super().__init__(chance.shapes[name])
        self._norms = norms
        self._seeds = chance.block_seeds(k, name)

    def job(self, target: Tensor, block: int) -> Fill:
        """Draw a block."""
        return partial(_draw, target, int(self._seeds[block]), float(self._norms[block]))


def _draw(target: Tensor, seed: int, norm: float, generator: torch.Generator) -> None:
    target.normal_(generator=generator.manual_seed(seed))
    # By numpy: torch's own overhead would be a tenth of so short a work.
    values = target.numpy().reshape(-1)
    length = float(np.dot(values, values)) ** 0.5
    # A block of one entry can be drawn as exactly zero once in 2³² times.
    np.multiply(values, np.float32(norm / length if length else 0.0), out=values)
