"""Round radii on both sides of a crossing: 1, 3, 10, 30, … two below and two above."""

from __future__ import annotations

from math import floor, log10

BELOW = 2
"""How many radii are at or below the crossing."""
ABOVE = 2
"""How many are above it."""
COUNT = BELOW + ABOVE
"""How many there are."""


def grid_around(crossing: float) -> tuple[float, ...]:
    """The two radii of the series 1, 3, 10, … at or below a radius, and the two next above.

    Args:
        crossing: A radius above zero, in any unit.

    Example:
        >>> grid_around(21.0)
        (3.0, 10.0, 30.0, 100.0)
    """
    place = 2 * floor(log10(crossing)) - 1
    while _radius(place + 1) <= crossing:
        place += 1
    return tuple(_radius(place + offset) for offset in range(1 - BELOW, 1 + ABOVE))


def _radius(place: int) -> float:
    """The number at a place of the series; 1 is at place 0."""
    exponent, half = divmod(place, 2)
    return float(f"{3 if half else 1}e{exponent}")  # spelled, as 3 · 10⁻⁵ is not 3e-05 exactly
