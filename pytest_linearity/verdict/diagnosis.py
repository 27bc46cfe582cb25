"""Measurement -> the figures of a report that tell why a radius does not comply."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pytest_linearity.numerics.metrics.spread import mean_std
from pytest_linearity.verdict.diagnosis_figures import (
    CurvatureFigures,
    LayerMeans,
    Matrix,
    Prediction,
    ProfileFigures,
    RefinedFigures,
)

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config
    from pytest_linearity.numerics.measurement.measurement import Measurement


def diagnosis(measured: Measurement, config: Config) -> dict[str, Any]:
    """The fields of a report that a config asks for: `second_order`, `layers` and `refined`.

    Args:
        measured: In the unit of the config's radii, which are all among the measured ones.
        config: Says what is asked for.
    """
    curvature = config.second_order and measured.curvature_ratio is not None
    return {
        "second_order": _second_order(measured, config) if curvature else None,
        "layers": _layers(measured, config.radii) if config.layer_profile else None,
        "refined": _refined(measured) if config.refine else None,
    }


def _second_order(measured: Measurement, config: Config) -> CurvatureFigures:
    kappa, limit = measured.curvature_ratio, config.relerr_threshold
    assert kappa is not None
    mean, std = mean_std(kappa)
    return CurvatureFigures(
        mean_curvature_ratio=mean,
        std_curvature_ratio=std,
        predicted_crossing_radius=2 * limit / mean if mean else None,
        curvature_ratio=matrix(kappa),
        crossing_radius=matrix(2 * limit / kappa),
        predicted={
            str(radius): _prediction(
                radius, kappa, measured.relative_error[measured.radii.index(radius)]
            )
            for radius in config.radii
        },
    )


def _prediction(radius: float, kappa: Tensor, error: Tensor) -> Prediction:
    """ε ≈ rκ/2 beside the measured ε, Tensors [directions, prompts]."""
    predicted = radius * kappa / 2
    mean, measured = mean_std(predicted)[0], mean_std(error)[0]
    return Prediction(
        relative_error=mean,
        measured_over_predicted=measured / mean if mean and measured is not None else None,
        pairs=matrix(error / predicted),
    )


def _layers(measured: Measurement, radii: Sequence[float]) -> ProfileFigures | None:
    profile = measured.layers
    if profile is None:
        return None
    places = {str(radius): measured.radii.index(radius) for radius in radii}
    return ProfileFigures(
        names=profile.names,
        radii={
            radius: LayerMeans(
                [mean_std(block)[0] for block in profile.relative_error[place]],
                [mean_std(block)[0] for block in profile.cosine_similarity[place]],
            )
            for radius, place in places.items()
        },
    )


def _refined(measured: Measurement) -> RefinedFigures | None:
    crossing = measured.refinement
    if crossing is None:
        return None
    return RefinedFigures(crossing.low, crossing.high, crossing.evaluated)


def matrix(values: Tensor) -> Matrix:
    """The figures of every pair, Tensor [directions, prompts], as a report has them."""
    rows = values.to(torch.float64).tolist()
    return [[value if isfinite(value) else None for value in row] for row in rows]
