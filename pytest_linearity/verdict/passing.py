"""From the verdict on each radius to the verdict on a checkpoint, along one kind of directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_linearity.verdict.document import RadiusFigures


def linearity_radius(radii: Sequence[RadiusFigures]) -> float | None:
    """The largest tested radius that complies; ``None`` when none does."""
    return max((figures.radius for figures in radii if figures.complies), default=None)


def passes(radii: Sequence[RadiusFigures], min_linearity_radius: float | None) -> bool:
    """Whether every radius that must comply does.

    Without `min_linearity_radius` every radius must; with it, those up to it, and the linearity
    radius must reach it.
    """
    if min_linearity_radius is None:
        return all(figures.complies for figures in radii)
    reached = linearity_radius(radii)
    required = [figures for figures in radii if figures.radius <= min_linearity_radius]
    return (
        reached is not None
        and reached >= min_linearity_radius
        and all(figures.complies for figures in required)
    )
