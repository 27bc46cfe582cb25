"""The means of metrics against their limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pytest_linearity.numerics.metrics.spread import mean_std
from pytest_linearity.numerics.metrics.values import MetricValues
from pytest_linearity.verdict.document import MetricFigures
from pytest_linearity.verdict.standing import Certainty, Standing, standing, why

_BOUNDS = (-math.inf, math.inf)


def judge_metrics(
    found: Sequence[MetricValues],
    limits: Mapping[str, float],
    certainty: Certainty | None = None,
) -> dict[str, tuple[MetricFigures, Standing]]:
    """Reduce the pairs of one radius and hold the means against the limits.

    Args:
        found: The figures of each metric.
        limits: The limits that there are, by name of the metric.
        certainty: How sure the verdict is to be; None where the means alone are looked at.

    Returns:
        The figures by name of the metric, and how each stands to its limit.
    """
    return {
        entry.metric.name: _judge(entry, limits.get(entry.metric.name), certainty)
        for entry in found
    }


def _judge(
    found: MetricValues, limit: float | None, certainty: Certainty | None
) -> tuple[MetricFigures, Standing]:
    metric = found.metric
    mean, std = mean_std(found.values)
    noise, _ = mean_std(found.noise)
    interval = certainty.interval(found.values, _BOUNDS) if certainty else None
    stands = standing(metric.label, mean, interval, limit, metric.good, certainty)
    undefined = _undefined(found)
    if undefined is not None:
        stands = Standing(undefined)
    reason = why([stands], certainty, sure=not stands.doubt)
    figures = MetricFigures(
        label=metric.label,
        good=metric.good,
        mean=mean,
        std=std,
        noise_floor=noise,
        limit=limit,
        complies=reason is None,
        reason=reason,
        interval=interval,
    )
    return figures, stands


def _undefined(found: MetricValues) -> str | None:
    pairs, broken = found.values.numel(), int((~found.values.isfinite()).sum())
    if found.failure is not None:
        return f"{found.failure} in {broken} of {pairs} (direction, prompt) pairs"
    if broken:
        return (
            f"{found.metric.label} is not finite in {broken} of {pairs} (direction, prompt) pairs"
        )
    return None
