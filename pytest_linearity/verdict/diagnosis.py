"""Measurement -> the figures of a report that tell why a radius does not comply."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pytest_linearity.numerics.directions.kinds import rows_by_kind
from pytest_linearity.numerics.metrics.spread import mean_std
from pytest_linearity.verdict.diagnosis_figures import (
    CurvatureFigures,
    LayerMeans,
    Matrix,
    Prediction,
    ProfileFigures,
    RefinedFigures,
)
from pytest_linearity.verdict.limits import limits_of

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config
    from pytest_linearity.numerics.measurement.measurement import Measurement, Refinement


def diagnosis(measured: Measurement, config: Config) -> dict[str, Any]:
    """The fields of a report that a config asks for: `second_order`, `layers` and `refined`.

    Args:
        measured: In the unit of the config's radii, which are all among the measured ones.
        config: Says what is asked for.
    """
    curvature = config.second_order and measured.curvature_ratio is not None
    return {
        "second_order": _second_order(measured, config) if curvature else None,
        "layers": _layers(measured, config.tested_radii) if config.layer_profile else None,
        "refined": _refined(measured.refinement) if config.refine else None,
        "refined_by_kind": {
            kind: refined
            for kind, facts in measured.by_kind.items()
            if config.refine and (refined := _refined(facts.refinement)) is not None
        },
    }


def _second_order(measured: Measurement, config: Config) -> CurvatureFigures:
    """κ over all directions, and of each of several kinds."""
    limits, kappa = limits_of(config), measured.curvature_ratio
    assert kappa is not None
    rows = rows_by_kind(measured.kinds, len(kappa))
    # One limit per direction; none where kinds differ in it, which then predict for themselves.
    limit = torch.full((len(kappa), 1), torch.nan, dtype=torch.float64)
    for kind, k in rows.items():
        of_kind = limits.of_kind(kind).relative_error
        limit[k] = torch.nan if of_kind is None else of_kind
    mean, std = mean_std(kappa)
    shared = limits.relative_error
    return CurvatureFigures(
        mean_curvature_ratio=mean,
        std_curvature_ratio=std,
        predicted_crossing_radius=2 * shared / mean if mean and shared is not None else None,
        curvature_ratio=matrix(kappa),
        crossing_radius=matrix(2 * limit / kappa),
        predicted={
            str(radius): _prediction(radius, kappa[k], error[k])
            for radius in config.tested_radii
            for error in [measured.relative_error[measured.radii.index(radius)]]
            for k in [[row for of_kind in measured.rows_at(radius).values() for row in of_kind]]
        },
        by_kind={
            kind: _second_order(measured.of_kind(kind), config.of_kind(kind))
            for kind in measured.by_kind
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
    if measured.layers is None:
        return None
    kinds = {kind: measured.of_kind(kind) for kind in measured.by_kind}
    return ProfileFigures(
        names=measured.layers.names,
        radii=_profile(measured, radii),
        by_kind={
            kind: _profile(of_kind, [r for r in radii if r in of_kind.radii])
            for kind, of_kind in kinds.items()
        },
    )


def _profile(measured: Measurement, radii: Sequence[float]) -> dict[str, LayerMeans]:
    """The means after every block, over the directions that were measured at each radius."""
    profile = measured.layers
    assert profile is not None
    means = {}
    for radius in radii:
        place = measured.radii.index(radius)
        rows = [row for k in measured.rows_at(radius).values() for row in k]
        means[str(radius)] = LayerMeans(
            [mean_std(block[rows])[0] for block in profile.relative_error[place]],
            [mean_std(block[rows])[0] for block in profile.cosine_similarity[place]],
        )
    return means


def _refined(crossing: Refinement | None) -> RefinedFigures | None:
    if crossing is None:
        return None
    return RefinedFigures(crossing.low, crossing.high, crossing.evaluated)


def matrix(values: Tensor) -> Matrix:
    """The figures of every pair, Tensor [directions, prompts], as a report has them."""
    rows = values.to(torch.float64).tolist()
    return [[value if isfinite(value) else None for value in row] for row in rows]
