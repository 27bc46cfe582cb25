"""Where the limits are crossed, found before anything is tested: for `radii: auto`, and the update.

A search measures a few radii along one direction, which is enough to know the order of magnitude;
along an update there is only one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pytest_linearity.numerics.measurement.crossing import Crossing, find_crossing
from pytest_linearity.numerics.measurement.grid import grid_around
from pytest_linearity.numerics.measurement.limits import Limits
from pytest_linearity.numerics.measurement.refinement import WIDTH as NARROW
from pytest_linearity.numerics.measurement.schedule import Progress
from pytest_linearity.numerics.measurement.setup import Setup

FIRST_STEP = 1e-3
"""Where a search begins that knows no better, over the norm of the parameters in scope."""
WIDTH = 1.5
"""Ratio of the two ends between which radii are laid around a crossing: half a step of the grid, so
that two of them are below it and two above."""


@dataclass(frozen=True)
class ChosenRadii:
    """The radii that were chosen for one kind of directions, and what they rest on."""

    radii: tuple[float, ...]
    """In the unit of the config."""
    facts: Mapping[str, Any]
    """The crossing, in that unit, for the report."""


def choose_radii(
    setup: Setup,
    kind: str,
    limits: Limits,
    unit_length: float,
    progress: Progress | None,
) -> ChosenRadii:
    """Radii on both sides of the crossing along the first direction of a kind.

    Args:
        setup: What is measured; its directions have the kind.
        kind: The kind.
        limits: Those of the kind.
        unit_length: The norm of a step of radius 1.
        progress: Told (done, total).

    Raises:
        MeasurementError: If the model cannot be measured; or out of memory.
    """
    directions = setup.directions
    start = FIRST_STEP * directions.norm or FIRST_STEP
    crossing = find_crossing(
        _search(setup),
        limits,
        start,
        directions=(directions.kinds.index(kind),),
        width=WIDTH,
        progress=progress,
    )
    middle = crossing.radius
    assert middle is not None  # the first radius is on one side
    ends = {"low": crossing.low, "high": crossing.high}
    return ChosenRadii(
        grid_around(middle / unit_length),
        {
            **{f"crossing_{end}": r and r / unit_length for end, r in ends.items()},
            "curvature_ratio": crossing.curvature_ratio and crossing.curvature_ratio * unit_length,
            "evaluated": [radius / unit_length for radius in crossing.evaluated],
        },
    )


def along_update(
    setup: Setup, limits: Limits, length: float, progress: Progress | None
) -> Crossing:
    """The figures of the update at its own length, and its crossing to 5%.

    Args:
        setup: What is measured; its one direction is the reversed update.
        limits: What complies.
        length: The norm of the update.
        progress: Told (done, total).
    """
    return find_crossing(_search(setup), limits, length, width=NARROW, progress=progress)


def _search(setup: Setup) -> Setup:
    """The same for a search: few evaluations, which are made again rather than journaled."""
    return replace(setup, journal=None, taps=None)
