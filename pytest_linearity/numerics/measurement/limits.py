"""What a radius must keep, as far as a measurement asks: is it kept, and can rounding decide?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pytest_linearity.numerics.directions.kinds import rows_by_kind
from pytest_linearity.numerics.metrics.metric import Metric
from pytest_linearity.numerics.metrics.registry import COSINE_SIMILARITY, RELATIVE_ERROR
from pytest_linearity.numerics.metrics.values import MetricValues


@dataclass(frozen=True)
class Limits:
    """What a radius must keep to comply."""

    relative_error: float | None
    """Largest mean relative error; None for no limit."""
    cosine_similarity: float | None
    """Smallest mean cosine similarity; None for no limit."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Limit of the mean of further metrics, by name."""
    by_kind: Mapping[str, Limits] = field(default_factory=dict)
    """What directions of each kind must keep instead, where kinds have limits of their own."""

    def of_kind(self, kind: str) -> Limits:
        """What directions of one kind must keep."""
        return self.by_kind.get(kind, self)

    def of(self, metric: Metric) -> float | None:
        """The limit of the mean of any metric; None where it has none."""
        own = {"relative_error": self.relative_error, "cosine_similarity": self.cosine_similarity}
        return own.get(metric.name, self.metrics.get(metric.name))


def kept(metrics: Sequence[MetricValues], limits: Limits, kinds: Sequence[str] = ()) -> bool:
    """Whether a radius keeps all limits, each kind of directions by itself.

    The verdict on a radius (`verdict.judge_radius`) without confidence and noise floor, as a
    bisection asks for it many times.

    Args:
        metrics: The figures of every metric at the radius.
        limits: The limits.
        kinds: The kind of each direction; empty where they are all of one.
    """
    rows = rows_by_kind(kinds, len(metrics[0].values))
    if len(rows) == 1:
        of_kind = limits.of_kind(next(iter(rows)))
        return all(entry.keeps(of_kind.of(entry.metric)) for entry in metrics)
    return all(
        entry.at(k).keeps(limits.of_kind(kind).of(entry.metric))
        for kind, k in rows.items()
        for entry in metrics
    )


def undecided(
    metrics: Sequence[MetricValues], floor: Tensor, limits: Limits, kinds: Sequence[str] = ()
) -> bool:
    """Whether rounding could turn the verdict on a radius around, that of any kind of directions.

    Args:
        metrics: The figures of every metric at the radius.
        floor: φ, the relative error that rounding alone causes, float64 Tensor
            [directions, prompts].
        limits: The limits.
        kinds: The kind of each direction; empty where they are all of one.
    """
    rows = rows_by_kind(kinds, len(metrics[0].values))
    return any(
        _can_turn(entry.at(k), floor[k].mean(), limits.of_kind(kind).of(entry.metric))
        for kind, k in rows.items()
        for entry in metrics
    )


def _can_turn(entry: MetricValues, floor: Tensor, limit: float | None) -> bool:
    """Whether rounding can carry the mean of a metric over its limit; never where it has none.

    A relative error of φ from rounding moves ε by at most φ(1 + ε), and turns a change by at most
    the angle arcsin φ.
    """
    if limit is None:
        return False
    mean = entry.values.mean()
    if entry.metric.name == RELATIVE_ERROR.name:
        return bool((mean - limit).abs() <= floor * (1 + mean))
    if entry.metric.name == COSINE_SIMILARITY.name:
        angle = torch.arccos(mean.clamp(-1, 1)) - math.acos(limit)
        return bool(angle.abs() <= torch.arcsin(floor.clamp(0, 1)))
    assert entry.noise is not None
    noise = entry.noise.mean()
    return bool(noise > 0 and (mean - limit).abs() <= noise)
