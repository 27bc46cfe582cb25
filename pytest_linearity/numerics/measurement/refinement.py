"""Where between two tested radii a model stops complying, by bisection.

A radius costs a baseline and an evaluation per direction, as derivatives are there; each halves
what is left between the two ends on a logarithmic scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from pytest_linearity.numerics.measurement.limits import Limits, kept
from pytest_linearity.numerics.measurement.measurement import Refinement
from pytest_linearity.numerics.measurement.running import RunningMeasurement

WIDTH = 1.05
"""Ratio of the two ends at which the crossing is known well enough."""


def refine(work: RunningMeasurement, radii: Sequence[float], limits: Limits) -> Refinement | None:
    """Bracket the crossing above the largest complying radius.

    Args:
        work: The measurement, done at `radii`; directions and derivatives are used again.
        radii: The tested radii.
        limits: What complies.

    Returns:
        The bracket; None where no radius complies, or the largest does.
    """
    tested = sorted(radii)
    complying = [radius for radius in tested if _complies(work, radius, limits)]
    if not complying or complying[-1] == tested[-1]:
        return None
    low = complying[-1]
    high = tested[tested.index(low) + 1]
    evaluated: list[float] = []
    while high / low > WIDTH:
        middle = sqrt(low * high)
        work.add(middle, limits)
        evaluated.append(middle)
        low, high = (middle, high) if _complies(work, middle, limits) else (low, middle)
    return Refinement(low, high, tuple(evaluated))


def _complies(work: RunningMeasurement, radius: float, limits: Limits) -> bool:
    moves = not work.figures.is_still(radius)
    return moves and kept(work.figures.values(radius), limits, work.kinds)
