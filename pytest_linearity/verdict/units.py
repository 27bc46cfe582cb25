"""A radius in every unit that is known: what step it is, and what a training run would make of it.

The first steps of Adam move every entry by about the learning rate η. Later the first moment is a
mean of gradients that have little to do with each other, and an entry moves by about

    η √((1 − β₁) / (1 + β₁)),    0.23 η for β₁ = 0.9

in the root mean square, as an exponential mean of independent numbers is smaller than they are by
that. So a step of AdamW over d entries is between 0.23 and 1 times η √d long, and a length r is
that of a step at a learning rate from r / √d to r / (0.23 √d).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import sqrt
from typing import Any

from pytest_linearity.verdict.document import RadiusFigures

STEADY = sqrt((1 - 0.9) / (1 + 0.9))
"""An entry's move in the steady state, in learning rates, for the usual β₁ of 0.9."""


def in_all_units(figures: RadiusFigures, scope: Mapping[str, Any]) -> RadiusFigures:
    """The figures of a radius with its length in all units that a report's scope knows.

    Args:
        figures: The figures.
        scope: Of the report: ``norm`` and ``parameters`` of what is perturbed; ``unit_length``, the
            norm of a step of radius 1; and where they are known the norms ``update_norm`` of the
            update and ``optimizer_norm`` of the optimizer's step at a rate of 1.
    """
    if "unit_length" not in scope:
        return figures
    radius = figures.radius * scope["unit_length"]
    entries = scope.get("parameters")
    return replace(
        figures,
        radius_absolute=radius,
        radius_relative=_over(radius, scope.get("norm")),
        radius_in_updates=_over(radius, scope.get("update_norm")),
        learning_rate=_over(radius, scope.get("optimizer_norm")),
        adamw_learning_rates=adamw_rates(radius, entries) if entries else None,
    )


def adamw_rates(radius: float, entries: int) -> tuple[float, float]:
    """The learning rates between which a step of AdamW has a length.

    Args:
        radius: The length, as a Euclidean norm.
        entries: How many parameters move.
    """
    first = radius / sqrt(entries)
    return first, first / STEADY


def _over(radius: float, norm: float | None) -> float | None:
    return radius / norm if norm else None
