"""Lengths of steps in the unit of a report's radii: of the optimizer's next one, of the update."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from pytest_linearity.numerics.directions.kinds import unreversed
from pytest_linearity.verdict.kinds import by_kind, facts_of, kinds_of

if TYPE_CHECKING:
    from pytest_linearity.verdict.document import Report


def in_radii(report: Report, length: float | None) -> float | None:
    """A Euclidean norm as a radius of the report.

    Args:
        report: Whose unit it is.
        length: The norm of a step.

    Returns:
        None where the norm is not known, or no length that a logarithmic axis has a place for.
    """
    unit = report.scope.get("unit_length")
    if not isinstance(unit, (int, float)) or not isinstance(length, (int, float)):
        return None
    radius = length / unit if unit else 0.0
    return radius if isfinite(radius) and radius > 0 else None


def optimizer_kind(report: Report) -> str | None:
    """The kind of directions that is the optimizer's next step, or else its opposite."""
    along = [kind for kind in kinds_of(report) if unreversed(kind) == "optimizer"]
    return min(along, key=len, default=None)


def peak_rate(report: Report) -> float | None:
    """The largest learning rate that the run has logged."""
    return _rate(report, "peak_learning_rate")


def step_length(report: Report) -> float | None:
    """The optimizer's next step at the rate that the run had logged last, as a radius."""
    rate, norm = _rate(report, "learning_rate"), report.scope.get("optimizer_norm")
    return in_radii(report, rate * norm) if rate and isinstance(norm, (int, float)) else None


def update_length(report: Report) -> float | None:
    """The norm of the update from the base, as a radius."""
    norm = report.update.norm if report.update else None
    return in_radii(report, report.scope.get("update_norm") if norm is None else norm)


def update_moved(report: Report) -> float | None:
    """The same, where figures were measured there; None where they were not."""
    figures = report.update
    return None if figures is None or figures.complies is None else update_length(report)


def optimizer_rates(report: Report) -> dict[float, float]:
    """Every radius along the optimizer's step as a learning rate; empty where one is not known."""
    along = optimizer_kind(report)
    of_kind = by_kind(report).get(along) if along else None
    radii = of_kind.radii if of_kind else ()
    rates = {f.radius: f.learning_rate for f in radii if f.learning_rate}
    return rates if len(rates) == len(radii) else {}


def _rate(report: Report, name: str) -> float | None:
    kind = optimizer_kind(report)
    rate = facts_of(report, kind).get(name) if kind else None
    return rate if isinstance(rate, float) and isfinite(rate) and rate > 0 else None
