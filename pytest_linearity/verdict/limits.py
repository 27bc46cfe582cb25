"""The limits of a run, and whether rounding leaves a verdict about them open."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pytest_linearity.metrics.values import MetricValues

if TYPE_CHECKING:
    from pytest_linearity.config import Config


@dataclass(frozen=True)
class Limits:
    """What a radius must keep to comply."""

    relative_error: float
    """Largest mean relative error."""
    cosine_similarity: float
    """Smallest mean cosine similarity."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Limit of the mean of further metrics, by name."""


def limits_of(config: Config) -> Limits:
    """The limits that a config sets."""
    return Limits(config.relerr_threshold, config.cos_threshold, config.metric_limits)


def undecided(
    relative_error: Tensor,
    cosine_similarity: Tensor,
    floor: Tensor,
    limits: Limits,
    metrics: Sequence[MetricValues] = (),
) -> bool:
    """Whether rounding could turn the verdict on a radius around.

    A relative error of φ from rounding moves ε by at most φ(1 + ε), and turns a change by at most
    the angle arcsin φ.

    Args:
        relative_error: ε of all pairs, float64 Tensor [directions, prompts].
        cosine_similarity: c of all pairs, same shape.
        floor: φ of all pairs, same shape.
        limits: The limits.
        metrics: The figures of further metrics.
    """
    if any(found.near(limits.metrics.get(found.metric.name)) for found in metrics):
        return True
    error, cosine, noise = relative_error.mean(), cosine_similarity.mean(), floor.mean()
    angle = torch.arccos(cosine.clamp(-1, 1)) - math.acos(limits.cosine_similarity)
    near_error = (error - limits.relative_error).abs() <= noise * (1 + error)
    return bool(near_error or angle.abs() <= torch.arcsin(noise.clamp(0, 1)))
