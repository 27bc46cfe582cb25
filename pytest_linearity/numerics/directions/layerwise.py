"""Directions that give every tensor the same share of its own norm.

    ‖δ_t‖ = ‖θ_t‖ / ‖θ_scope‖,

so that a step of r changes every tensor by r / ‖θ_scope‖ of its norm, whatever its size. Within a
tensor a direction is uniform on the sphere. It is the draw of the Gaussian direction of the same
index, scaled tensor by tensor, so the two kinds can be compared direction by direction.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pytest_linearity.errors import ConfigError
from pytest_linearity.numerics.directions.base import Kind, ZeroPart
from pytest_linearity.numerics.directions.gaussian import GaussianPart
from pytest_linearity.numerics.directions.norms import total
from pytest_linearity.numerics.directions.parts import Part
from pytest_linearity.numerics.directions.seeds import Chance


class Layerwise(Kind):
    """Directions whose norm in each tensor is in proportion to the tensor's."""

    label = "every tensor in proportion to its norm"

    def __init__(self, chance: Chance, count: int, norms: Mapping[str, float]) -> None:
        """As many directions as are asked for, in the scope of `chance`.

        Args:
            chance: The random numbers.
            count: How many directions.
            norms: ‖θ_t‖ of each parameter in scope.

        Raises:
            ConfigError: If all of them are zero.
        """
        self.count = count
        self._chance = chance
        whole = total(norms.values())
        if not whole:
            raise ConfigError(
                "directions: layerwise: every parameter in scope is zero, and has no share to give"
            )
        self._shares = {name: norm / whole for name, norm in norms.items()}

    def part(self, k: int, name: str) -> Part:
        """The part of direction k that belongs to one parameter."""
        share = self._shares[name]
        if not share:
            return ZeroPart(self._chance.shapes[name])
        squares = self._chance.squared_norms(k, name)
        return GaussianPart(self._chance, k, name, share * np.sqrt(squares / squares.sum()))
