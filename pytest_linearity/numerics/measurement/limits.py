"""What a radius must keep, as far as a measurement asks: is it kept, and can rounding decide?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pytest_linearity.numerics.directions.kinds import rows_by_kind
from pytest_linearity.numerics.metrics.spread import mean_std
from pytest_linearity.numerics.metrics.values import MetricValues


@dataclass(frozen=True)
class Limits:
    """What a radius must keep to comply."""

    relative_error: float
    """Largest mean relative error."""
    cosine_similarity: float
    """Smallest mean cosine similarity."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Limit of the mean of further metrics, by name."""


def kept(
    relative_error: Tensor,
    cosine_similarity: Tensor,
    limits: Limits,
    metrics: Sequence[MetricValues] = (),
    kinds: Sequence[str] = (),
) -> bool:
    """Whether a radius keeps all limits, each kind of directions by itself.

    The verdict on a radius (`verdict.judge_radius`) without confidence and noise floor, as a
    bisection asks for it many times.

    Args:
        relative_error: ε of all pairs, float64 Tensor [directions, prompts].
        cosine_similarity: c of all pairs, same shape.
        limits: The limits.
        metrics: The figures of further metrics.
        kinds: The kind of each direction; empty where they are all of one.
    """
    error, cosine = mean_std(relative_error)[0], mean_std(cosine_similarity)[0]
    if error is None or error > limits.relative_error:
        return False
    if cosine is not None and cosine < limits.cosine_similarity:
        return False
    if not all(found.keeps(limits.metrics.get(found.metric.name)) for found in metrics):
        return False
    rows = rows_by_kind(kinds, len(relative_error)).values()
    return len(rows) < 2 or all(
        kept(relative_error[k], cosine_similarity[k], limits, [found.at(k) for found in metrics])
        for k in rows
    )


def undecided(
    relative_error: Tensor,
    cosine_similarity: Tensor,
    floor: Tensor,
    limits: Limits,
    metrics: Sequence[MetricValues] = (),
    kinds: Sequence[str] = (),
) -> bool:
    """Whether rounding could turn the verdict on a radius around, that of any kind of directions.

    A relative error of φ from rounding moves ε by at most φ(1 + ε), and turns a change by at most
    the angle arcsin φ.

    Args:
        relative_error: ε of all pairs, float64 Tensor [directions, prompts].
        cosine_similarity: c of all pairs, same shape.
        floor: φ of all pairs, same shape.
        limits: The limits.
        metrics: The figures of further metrics.
        kinds: The kind of each direction; empty where they are all of one.
    """
    rows = rows_by_kind(kinds, len(relative_error)).values()
    if len(rows) > 1:
        return any(
            undecided(
                relative_error[k],
                cosine_similarity[k],
                floor[k],
                limits,
                [found.at(k) for found in metrics],
            )
            for k in rows
        )
    if any(found.near(limits.metrics.get(found.metric.name)) for found in metrics):
        return True
    error, cosine, noise = relative_error.mean(), cosine_similarity.mean(), floor.mean()
    angle = torch.arccos(cosine.clamp(-1, 1)) - math.acos(limits.cosine_similarity)
    near_error = (error - limits.relative_error).abs() <= noise * (1 + error)
    return bool(near_error or angle.abs() <= torch.arcsin(noise.clamp(0, 1)))
