"""Figures of a radius that a test writes down: pair by pair, or their means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_linearity.numerics.metrics.registry import ALWAYS, COSINE_SIMILARITY, RELATIVE_ERROR
from pytest_linearity.numerics.metrics.values import MetricValues
from pytest_linearity.verdict.document import MetricFigures, RadiusFigures

if TYPE_CHECKING:
    from torch import Tensor

LIMITS = {"relative_error": 0.2, "cosine_similarity": 0.95}


def metric_values(error: Tensor, cosine: Tensor, *further: MetricValues) -> list[MetricValues]:
    """The figures of every metric at one radius, Tensors [directions, prompts]."""
    return [
        MetricValues(RELATIVE_ERROR, error, None, None),
        MetricValues(COSINE_SIMILARITY, cosine, None, None),
        *further,
    ]


def radius_figures(
    radius: float,
    error: tuple[float | None, float | None] = (None, None),
    cosine: tuple[float | None, float | None] = (None, None),
    noise_floor: float | None = None,
    *,
    complies: bool,
    reason: str | None = None,
    limits: Mapping[str, float] = LIMITS,
) -> RadiusFigures:
    """One radius of a report, by mean and standard deviation of both metrics."""
    means = {"relative_error": error, "cosine_similarity": cosine}
    figures = {
        name: MetricFigures.always(ALWAYS[name], mean, std, None, limits[name])
        for name, (mean, std) in means.items()
    }
    return RadiusFigures(
        radius=radius,
        figures=figures,
        noise_floor=noise_floor,
        precision="float32",
        complies=complies,
        reason=reason,
    )
