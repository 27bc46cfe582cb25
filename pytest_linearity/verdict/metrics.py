"""One metric at one radius: its pairs reduced to a mean, and that held against its limit."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pytest_linearity.numerics.metrics.registry import ALWAYS, COSINE_SIMILARITY, RELATIVE_ERROR
from pytest_linearity.numerics.metrics.spread import mean_std
from pytest_linearity.numerics.metrics.values import MetricValues
from pytest_linearity.verdict.confidence import Interval
from pytest_linearity.verdict.document import MetricFigures
from pytest_linearity.verdict.standing import Certainty, Standing, reasons, standing

_BOUNDS: Mapping[str, Interval] = {
    RELATIVE_ERROR.name: (0.0, math.inf),
    COSINE_SIMILARITY.name: (-1.0, 1.0),
}
"""Between which a mean lies in any case, where an interval is cut."""
_PAIRS = "(direction, prompt) pairs"


def judge_metric(
    evaluated: MetricValues, limit: float | None, certainty: Certainty | None
) -> tuple[MetricFigures, Standing]:
    """Reduce the pairs of one metric and hold their mean against its limit.

    Args:
        evaluated: The figures of the metric.
        limit: Its limit, if it has one.
        certainty: How sure the verdict is to be; None where the mean alone is looked at.

    Returns:
        The figures, and how they stand to the limit.
    """
    metric = evaluated.metric
    mean, std = mean_std(evaluated.values)
    bounds = _BOUNDS.get(metric.name, (-math.inf, math.inf))
    interval = certainty.interval(evaluated.values, bounds) if certainty else None
    undefined = _undefined(evaluated)
    stands = (
        standing(metric.label, mean, interval, limit, metric.good, certainty)
        if undefined is None
        else Standing(undefined)
    )
    if metric.name in ALWAYS:
        return MetricFigures.always(metric, mean, std, interval, limit), stands
    (reason,) = reasons([stands], certainty)
    figures = MetricFigures(
        label=metric.label,
        good=metric.good,
        mean=mean,
        std=std,
        noise_floor=None if evaluated.noise is None else mean_std(evaluated.noise)[0],
        limit=limit,
        complies=reason is None,
        reason=reason,
        interval=interval,
    )
    return figures, stands


def _undefined(evaluated: MetricValues) -> str | None:
    """Why the mean is not defined; None where it is."""
    pairs, broken = evaluated.values.numel(), int((~evaluated.values.isfinite()).sum())
    if evaluated.failure is not None:
        return f"{evaluated.failure} in {broken} of {pairs} {_PAIRS}"
    if not broken:
        return None
    if evaluated.metric.name != RELATIVE_ERROR.name:
        return f"{evaluated.metric.label} is not finite in {broken} of {pairs} {_PAIRS}"
    unknown = int(evaluated.values.isnan().sum())
    if unknown:
        return f"logits are not finite in {unknown} of {pairs} {_PAIRS}"
    return (
        f"undefined in {broken} of {pairs} {_PAIRS}: "
        "the logits do not change, though their derivative is not zero"
    )
