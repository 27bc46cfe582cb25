"""Where between two tested radii a model stops complying, by bisection.

A radius costs a baseline and an evaluation per direction, as derivatives are there; each halves
what is left between the two ends on a logarithmic scale. Every kind of directions has a crossing
of its own, and only its own directions are measured for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt

from pytest_linearity.numerics.measurement.limits import Limits, kept
from pytest_linearity.numerics.measurement.measurement import Refinement
from pytest_linearity.numerics.measurement.running import RunningMeasurement

WIDTH = 1.05
"""Ratio of the two ends at which the crossing is known well enough."""


def refine(
    work: RunningMeasurement, radii: Mapping[str, Sequence[float]], limits: Limits
) -> dict[str, Refinement | None]:
    """Bracket, for each kind of directions, the crossing above its largest complying radius.

    Args:
        work: The measurement, done at `radii`; directions and derivatives are used again.
        radii: The tested radii of each kind.
        limits: What complies.

    Returns:
        The bracket of each kind; None where no radius complies, or the largest does.
    """
    return {kind: _refined(work, kind, sorted(tested), limits) for kind, tested in radii.items()}


def _refined(
    work: RunningMeasurement, kind: str, tested: Sequence[float], limits: Limits
) -> Refinement | None:
    complying = [radius for radius in tested if _complies(work, radius, kind, limits)]
    if not complying or complying[-1] == tested[-1]:
        return None
    directions = [
        k for k, of in zip(work.figures.directions, work.kinds, strict=True) if of == kind
    ]
    low = complying[-1]
    high = tested[tested.index(low) + 1]
    evaluated: list[float] = []
    while high / low > WIDTH:
        middle = sqrt(low * high)
        if not {*directions} <= {*work.figures.directions_at(middle)}:
            work.add(middle, limits, directions)
        evaluated.append(middle)
        low, high = (middle, high) if _complies(work, middle, kind, limits) else (low, middle)
    return Refinement(low, high, tuple(evaluated))


def first_crossing(
    work: RunningMeasurement,
    radii: Mapping[str, Sequence[float]],
    limits: Limits,
    refinements: Mapping[str, Refinement | None],
) -> Refinement | None:
    """The smallest of the crossings: beyond it not every kind complies.

    Args:
        work: The measurement.
        radii: The tested radii of each kind.
        limits: What complies.
        refinements: What `refine` has found.

    Returns:
        None where no kind has a crossing, or one has no radius that complies.
    """
    crossings = [crossing for crossing in refinements.values() if crossing is not None]
    reached = (
        any(_complies(work, radius, kind, limits) for radius in tested)
        for kind, tested in radii.items()
    )
    return min(crossings, key=lambda crossing: crossing.low) if crossings and all(reached) else None


def _complies(work: RunningMeasurement, radius: float, kind: str, limits: Limits) -> bool:
    rows = work.rows_at(radius)[kind]
    if work.figures.is_still(radius, rows):
        return False
    return kept([entry.at(rows) for entry in work.figures.values(radius)], limits.of_kind(kind))
