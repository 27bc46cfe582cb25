"""Radii in the unit of the config, and as the Euclidean norm of a step."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from pytest_linearity.errors import ConfigError

ABSOLUTE = "absolute"
"""A radius is the norm of the step."""
RELATIVE = "relative"
"""It is that over the norm of the parameters in scope."""
UPDATE = "update"
"""It is that over the norm of the update from the base, in scope."""
LEARNING_RATE = "learning_rate"
"""It is the learning rate at which the optimizer's next step has that norm, in scope."""
UNITS = (ABSOLUTE, RELATIVE, UPDATE, LEARNING_RATE)
"""All of them."""


def absolute_radii(radii: Sequence[float], unit: str, length: float) -> list[float]:
    """The norms of the steps that radii mean.

    Args:
        radii: In the unit of the config.
        unit: One of `UNITS`, for messages.
        length: The norm of a step of radius 1.

    Raises:
        ConfigError: If a step has no length, or none that a float can hold.
    """
    steps = [radius * length for radius in radii]
    for radius, step in zip(radii, steps, strict=True):
        if not isfinite(step) or step <= 0:
            raise ConfigError(
                f"radius_unit: {unit}: {radius} of the norm {length:g} of {_WHOSE.get(unit, '')} "
                "is no step: give absolute radii"
            )
    return steps


_WHOSE = {
    RELATIVE: "the parameters in scope",
    UPDATE: "the update in scope",
    LEARNING_RATE: "the optimizer's step at a rate of 1",
}
