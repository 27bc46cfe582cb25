"""The means of metrics against their limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_linearity.metrics.spread import mean_std
from pytest_linearity.metrics.values import MetricValues
from pytest_linearity.report import text
from pytest_linearity.report.metric_figures import MetricFigures


def judge_metrics(
    found: Sequence[MetricValues], limits: Mapping[str, float]
) -> dict[str, MetricFigures]:
    """Reduce the pairs of one radius and hold the means against the limits.

    Args:
        found: The figures of each metric.
        limits: The limits that there are, by name of the metric.

    Returns:
        The figures by name of the metric.
    """
    return {entry.metric.name: _judge(entry, limits.get(entry.metric.name)) for entry in found}


def _judge(found: MetricValues, limit: float | None) -> MetricFigures:
    metric = found.metric
    mean, std = mean_std(found.values)
    noise, _ = mean_std(found.noise)
    reason = _undefined(found)
    if mean is not None and limit is not None and not metric.keeps(limit, mean):
        sign = ">" if metric.good == "smaller" else "<"
        reason = f"mean {metric.label} {text.against(mean, limit, sign)}"
    return MetricFigures(
        label=metric.label,
        good=metric.good,
        mean=mean,
        std=std,
        noise_floor=noise,
        limit=limit,
        complies=reason is None,
        reason=reason,
    )


def _undefined(found: MetricValues) -> str | None:
    pairs, broken = found.values.numel(), int((~found.values.isfinite()).sum())
    if found.failure is not None:
        return f"{found.failure} in {broken} of {pairs} (direction, prompt) pairs"
    if broken:
        return (
            f"{found.metric.label} is not finite in {broken} of {pairs} (direction, prompt) pairs"
        )
    return None
