"""From the figures of all pairs to the verdict on each radius and on the checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pytest_linearity.by_kind import rows_by_kind
from pytest_linearity.diagnosis import diagnosis
from pytest_linearity.metric_verdict import judge_metrics
from pytest_linearity.metrics.spread import mean_std
from pytest_linearity.metrics.values import MetricValues
from pytest_linearity.radius_unit import absolute_radius, relative_radius
from pytest_linearity.report import text
from pytest_linearity.report.document import RadiusFigures, Report
from pytest_linearity.report.kind_figures import KindFigures

if TYPE_CHECKING:
    from pytest_linearity.config import Config
    from pytest_linearity.findings import Findings
    from pytest_linearity.measurement import Measurement


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


def judge(findings: Findings, config: Config) -> Report:
    """The report on what was found, held against the limits of a config.

    Args:
        findings: What was found.
        config: Sets limits, and radii that are all among the measured ones.
    """
    measured, limits = findings.measurement, limits_of(config)
    flips, metrics = measured.routing_flips, config.chosen_metrics
    norm, unit = findings.scope.get("norm"), config.radius_unit
    radii = tuple(
        judge_radius(
            radius,
            measured.relative_error[i],
            measured.cosine_similarity[i],
            limits,
            noise_floor=measured.noise_floor[i],
            precision=measured.precision[i],
            routing_flips=None if flips is None else flips[i],
            metrics=measured.metric_values(i, metrics),
            kinds=measured.kinds,
        )
        for radius in config.radii
        for i in [measured.radii.index(radius)]
    )
    if norm is not None:
        radii = tuple(
            replace(
                figures,
                radius_absolute=absolute_radius(figures.radius, unit, norm),
                radius_relative=relative_radius(figures.radius, unit, norm),
            )
            for figures in radii
        )
    return Report(
        config=config.to_dict(),
        checkpoint=findings.checkpoint,
        radii=radii,
        linearity_radius=linearity_radius(radii),
        passed=passes(radii, config.min_linearity_radius),
        probes=findings.probes,
        scope=findings.scope,
        environment=findings.environment,
        pairs=_pairs(measured, config.radii, [metric.name for metric in metrics]),
        **diagnosis(measured, config),
    )


def judge_radius(
    radius: float,
    relative_error: Tensor,
    cosine_similarity: Tensor,
    limits: Limits,
    *,
    noise_floor: float | None = None,
    precision: str = "float32",
    routing_flips: int | None = None,
    metrics: Sequence[MetricValues] = (),
    kinds: Sequence[str] = (),
) -> RadiusFigures:
    """Reduce the pairs of one radius and hold the means against the limits.

    Of several kinds of directions every one must keep the limits by itself; so does the mean over
    all of them, then.

    Args:
        radius: The radius.
        relative_error: ε of all pairs, float64 Tensor [directions, prompts].
        cosine_similarity: c of all pairs, same shape.
        limits: The limits.
        noise_floor: Relative error that rounding alone causes here.
        precision: Arithmetic of the forwards.
        routing_flips: Changed routing decisions, for a mixture of experts.
        metrics: The figures of further metrics.
        kinds: The kind of each direction; empty where they are all of one.
    """
    error_mean, error_std = mean_std(relative_error)
    cosine_mean, cosine_std = mean_std(cosine_similarity)
    reason = _undefined(relative_error, cosine_similarity) or _broken_limit(
        error_mean, cosine_mean, limits
    )
    reason = _rounding(error_mean, noise_floor, precision, limits, reason)
    further = judge_metrics(metrics, limits.metrics)
    if error_mean is not None:  # else nothing is defined, for the reason that is given already
        broken = [figures.reason for figures in further.values()]
        reason = ", ".join(filter(None, [reason, *broken])) or None
    by_kind = _judge_kinds(kinds, radius, relative_error, cosine_similarity, limits, metrics)
    of_kinds = [f"{kind}: {found.reason}" for kind, found in by_kind.items() if not found.complies]
    reason = "; ".join(of_kinds) or reason
    return RadiusFigures(
        radius=radius,
        mean_relative_error=error_mean,
        std_relative_error=error_std,
        mean_cosine_similarity=cosine_mean,
        std_cosine_similarity=cosine_std,
        noise_floor=noise_floor,
        precision=precision,
        complies=reason is None,
        reason=reason,
        routing_flips=routing_flips,
        metrics=further,
        by_kind=by_kind,
    )


def _judge_kinds(
    kinds: Sequence[str],
    radius: float,
    relative_error: Tensor,
    cosine_similarity: Tensor,
    limits: Limits,
    metrics: Sequence[MetricValues],
) -> dict[str, KindFigures]:
    """Each kind of directions by itself, where there are several."""
    rows = rows_by_kind(kinds, len(relative_error))
    if len(rows) < 2:
        return {}
    return {
        kind: KindFigures.of(
            judge_radius(
                radius,
                relative_error[k],
                cosine_similarity[k],
                limits,
                metrics=[metric.at(k) for metric in metrics],
            )
        )
        for kind, k in rows.items()
    }


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


def linearity_radius(radii: Sequence[RadiusFigures]) -> float | None:
    """The largest tested radius that complies; ``None`` when none does."""
    return max((figures.radius for figures in radii if figures.complies), default=None)


def passes(radii: Sequence[RadiusFigures], min_linearity_radius: float | None) -> bool:
    """Whether every radius that must comply does.

    Without `min_linearity_radius` every radius must; with it, those up to it, and the linearity
    radius must reach it.
    """
    if min_linearity_radius is None:
        return all(figures.complies for figures in radii)
    reached = linearity_radius(radii)
    required = [figures for figures in radii if figures.radius <= min_linearity_radius]
    return (
        reached is not None
        and reached >= min_linearity_radius
        and all(figures.complies for figures in required)
    )


def _pairs(measured: Measurement, radii: Sequence[float], metrics: Sequence[str]) -> dict[str, Any]:
    """The figures of every pair, by radius as the report spells it."""
    figures = {
        "relative_error": measured.relative_error,
        "cosine_similarity": measured.cosine_similarity,
        **{name: measured.metrics[name] for name in metrics},
    }
    places = {str(radius): measured.radii.index(radius) for radius in radii}
    return {
        spelled: {name: _rows(values[place]) for name, values in figures.items()}
        for spelled, place in places.items()
    }


def _rows(values: Tensor) -> list[list[float | None]]:
    return [[v if math.isfinite(v) else None for v in row] for row in values.tolist()]


def _undefined(relative_error: Tensor, cosine_similarity: Tensor) -> str | None:
    pairs = relative_error.numel()
    broken = int(relative_error.isnan().sum())
    if broken:
        return f"logits are not finite in {broken} of {pairs} (direction, prompt) pairs"
    still = int(relative_error.isinf().sum())
    if still:
        return (
            f"undefined in {still} of {pairs} (direction, prompt) pairs: "
            "the logits do not change, though their derivative is not zero"
        )
    return None


def _broken_limit(error: float | None, cosine: float | None, limits: Limits) -> str | None:
    broken = []
    if error is not None and error > limits.relative_error:
        broken.append(f"mean relative error {text.against(error, limits.relative_error, '>')}")
    if cosine is not None and cosine < limits.cosine_similarity:
        against = text.against(cosine, limits.cosine_similarity, "<")
        broken.append(f"mean cosine similarity {against}")
    return ", ".join(broken) or None


def _rounding(
    error: float | None, floor: float | None, precision: str, limits: Limits, reason: str | None
) -> str | None:
    """The reason, with what rounding has to do with it where that is much."""
    if floor is None or error is None:
        return reason
    if floor > limits.relative_error:
        return (
            f"rounding alone causes a relative error of {floor:.2g} in {precision}, "
            f"above the limit {limits.relative_error:.2f}"
        )
    if reason is not None and floor > 0.1 * error:
        return f"{reason} (of which rounding in {precision} alone causes {floor:.2g})"
    return reason
