"""Radii in the unit of the config, and as the Euclidean norm of a step."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from pytest_linearity.errors import ConfigError

RELATIVE = "relative"


def absolute_radii(radii: Sequence[float], unit: str, norm: float) -> list[float]:
    """The norms of the steps that radii mean.

    Args:
        radii: In the unit of the config.
        unit: `absolute`, or `relative` to the norm.
        norm: Euclidean norm of the parameters in scope.

    Raises:
        ConfigError: If a step has no length, or none that a float can hold.
    """
    steps = [absolute_radius(radius, unit, norm) for radius in radii]
    for radius, step in zip(radii, steps, strict=True):
        if not isfinite(step) or step <= 0:
            raise ConfigError(
                f"radius_unit: relative: {radius} of the norm {norm:g} of the parameters in scope "
                "is no step: give absolute radii"
            )
    return steps


def absolute_radius(radius: float, unit: str, norm: float) -> float:
    """The norm of the step that a radius means."""
    return radius * norm if unit == RELATIVE else radius


def relative_radius(radius: float, unit: str, norm: float) -> float | None:
    """The norm of that step over the norm of the parameters; None where that is zero."""
    if unit == RELATIVE:
        return radius
    return radius / norm if norm else None
