"""Filter-normalised directions.

H. Li, Z. Xu, G. Taylor, C. Studer, T. Goldstein, Visualizing the Loss Landscape of Neural Nets,
NeurIPS 2018: every filter of a random direction is scaled to the norm of the filter of θ in the
same place, and biases and normalisation weights are left alone (their `ignore="biasbn"`). A filter
is a row of the parameter's matrix, the weights that make one output of a linear layer. Here the
whole is then brought to norm 1,

    δ_row = z_row / ‖z_row‖ · ‖θ_row‖ / √(Σ ‖θ_row‖²),    z ~ N(0, I),

with z the draw of the Gaussian direction of the same index.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from pytest_linearity.errors import ConfigError
from pytest_linearity.numerics.directions.base import Kind, ZeroPart
from pytest_linearity.numerics.directions.norms import total
from pytest_linearity.numerics.directions.parts import Fill, Part
from pytest_linearity.numerics.directions.seeds import Chance


class Filterwise(Kind):
    """Directions whose norm in each row is in proportion to the row's."""

    label = "every filter in proportion to its norm"

    def __init__(self, chance: Chance, count: int, norms: Mapping[str, Tensor]) -> None:
        """As many directions as are asked for, in the scope of `chance`.

        Args:
            chance: The random numbers.
            count: How many directions.
            norms: ‖θ_row‖ of each parameter of two or more dimensions, float64 Tensor [rows].

        Raises:
            ConfigError: If there is none of these in scope, or all are zero.
        """
        self.count = count
        self._chance = chance
        whole = total(float(torch.linalg.vector_norm(rows)) for rows in norms.values())
        if not whole:
            raise ConfigError(
                "directions: filterwise: moves weight matrices alone, and "
                + ("all in scope are zero" if norms else "none is in scope")
            )
        self._shares = {name: rows / whole for name, rows in norms.items()}

    def part(self, k: int, name: str) -> Part:
        """The part of direction k that belongs to one parameter."""
        if name not in self._shares:
            return ZeroPart(self._chance.shapes[name])
        return _Filters(self._chance, k, name, self._shares[name])


class _Filters(Part):
    def __init__(self, chance: Chance, k: int, name: str, norms: Tensor) -> None:
        super().__init__(chance.shapes[name])
        self._norms = norms
        self._seeds = chance.block_seeds(k, name)

    def job(self, target: Tensor, block: int) -> Fill:
        start = block * self.block
        norms = self._norms[start : start + len(target)]
        return partial(_draw, target, int(self._seeds[block]), norms)


def _draw(target: Tensor, seed: int, norms: Tensor, generator: torch.Generator) -> None:
    target.normal_(generator=generator.manual_seed(seed))
    lengths = torch.linalg.vector_norm(target, dim=1, dtype=torch.float64)
    # A row of one entry can be drawn as exactly zero once in 2³² times.
    scales = torch.where(lengths > 0, norms / lengths, 0.0)
    target.mul_(scales.float().unsqueeze(1))
