"""What radii mean: in learning rates, and how far from the limits they were tested."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_linearity.numerics.directions.kinds import RANDOM, unreversed
from pytest_linearity.report import text
from pytest_linearity.verdict import numbers
from pytest_linearity.verdict.kinds import facts_of, kinds_of

if TYPE_CHECKING:
    from pytest_linearity.verdict.document import RadiusFigures, Report

_FAR = 10.0
"""A relative error that is so many times smaller or larger than its limit says nothing of it."""


def learning_rate_line(report: Report) -> str | None:
    """Up to which learning rate the checkpoint is linear, along one kind of directions.

    Along the optimizer's next step that is a rate. Along random directions it is the rates between
    which a step of AdamW is as long as the linearity radius. None along others, and where no radius
    complies.
    """
    kind = kinds_of(report)[0]
    reached = [figures for figures in report.radii if figures.complies]
    if not reached:
        return None
    if unreversed(kind) == "optimizer":
        return _optimizer(report, kind, reached[-1])
    rates = reached[-1].adamw_learning_rates
    if kind not in RANDOM or rates is None:
        return None
    low, high = map(text.rate, rates)
    return (
        f"a step of AdamW is as long as the linearity radius at learning rates from {low} to {high}"
    )


def _optimizer(report: Report, kind: str, figures: RadiusFigures) -> str | None:
    rate = figures.learning_rate
    if rate is None:
        return None
    if report.refined is not None:
        rate *= report.refined.linearity_radius / figures.radius
    said = f"linear up to a learning rate of {text.rate(rate)}"
    if figures.radius == report.radii[-1].radius:
        said += ", the largest tested"
    used = facts_of(report, kind).get("peak_learning_rate")
    if not isinstance(used, float):
        return said
    return (
        f"{said} (the largest that the run used is {text.rate(used)}: {rate / used:.2g} times that)"
    )


def distance_line(report: Report) -> str | None:
    """That every radius is far from the limits, on one side of them; None where that is not so.

    The crossing is where ε ≈ rκ/2 reaches its limit, with κ as measured, or else as the nearest
    radius has it.
    """
    limit = report.limits.get("relative_error")
    errors = [figures.mean_relative_error for figures in report.radii]
    first, last = errors[0], errors[-1]
    if not limit or first is None or last is None or not first or not last:
        return None
    if last < limit / _FAR and report.radii[-1].complies:
        near, side, error = report.radii[-1], "below", last
    elif first > limit * _FAR:
        near, side, error = report.radii[0], "above", first
    else:
        return None
    crossing = near.radius * limit / error
    if report.second_order is not None and report.second_order.predicted_crossing_radius:
        crossing = report.second_order.predicted_crossing_radius
    return (
        f"every radius is far {side} the limit: relative error {numbers.mean(error)} at r = "
        f"{numbers.tick(near.radius)}, and curvature predicts {numbers.limit(limit)} near r = "
        f"{numbers.tick(float(f'{crossing:.1g}'))}; `radii: auto` tests around that, and "
        "`pytest-linearity init` writes a config that does"
    )
