"""From the figures of all pairs to the verdict on each radius and on the checkpoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_linearity.report.document import RadiusFigures


@dataclass(frozen=True)
class Limits:
    """What a radius must keep to comply."""

    relative_error: float
    """Largest mean relative error."""
    cosine_similarity: float
    """Smallest mean cosine similarity."""


def judge_radius(
    radius: float,
    relative_error: Tensor,
    cosine_similarity: Tensor,
    limits: Limits,
    *,
    noise_floor: float | None = None,
    precision: str = "float32",
    routing_flips: int | None = None,
) -> RadiusFigures:
    """Reduce the pairs of one radius and hold the means against the limits.

    Args:
        radius: The radius.
        relative_error: ε of all pairs, float64 Tensor [directions, prompts].
        cosine_similarity: c of all pairs, same shape.
        limits: The two limits.
        noise_floor: Relative error that rounding alone causes here.
        precision: Arithmetic of the forwards.
        routing_flips: Changed routing decisions, for a mixture of experts.
    """
    error_mean, error_std = _mean_std(relative_error)
    cosine_mean, cosine_std = _mean_std(cosine_similarity)
    reason = _undefined(relative_error, cosine_similarity) or _broken_limit(
        error_mean, cosine_mean, limits
    )
    reason = _rounding(error_mean, noise_floor, precision, limits, reason)
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
    )


def undecided(
    relative_error: Tensor, cosine_similarity: Tensor, floor: Tensor, limits: Limits
) -> bool:
    """Whether rounding could turn the verdict on a radius around.

    A relative error of φ from rounding moves ε by at most φ(1 + ε), and turns a change by at most
    the angle arcsin φ.

    Args:
        relative_error: ε of all pairs, float64 Tensor [directions, prompts].
        cosine_similarity: c of all pairs, same shape.
        floor: φ of all pairs, same shape.
        limits: The two limits.
    """
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


def _mean_std(values: Tensor) -> tuple[float | None, float | None]:
    if not torch.isfinite(values).all():
        return None, None
    return float(values.mean()), float(values.std(correction=0))


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
        broken.append(f"mean relative error {_against(error, limits.relative_error, '>')}")
    if cosine is not None and cosine < limits.cosine_similarity:
        broken.append(f"mean cosine similarity {_against(cosine, limits.cosine_similarity, '<')}")
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


def _against(value: float, limit: float, sign: str) -> str:
    """`0.31 > 0.20`, with as many digits as it takes to tell the two apart."""
    for digits in range(2, 12):
        if f"{value:.{digits}f}" != f"{limit:.{digits}f}":
            break
    return f"{value:.{digits}f} {sign} {limit:.{digits}f}"
