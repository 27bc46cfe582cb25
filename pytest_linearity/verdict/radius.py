"""The verdict on one radius: the figures of its pairs, reduced and held against the limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from pytest_linearity.numerics.directions.kinds import rows_by_kind
from pytest_linearity.numerics.measurement.limits import Limits
from pytest_linearity.numerics.metrics.metric import Metric, Side
from pytest_linearity.numerics.metrics.spread import mean_std
from pytest_linearity.numerics.metrics.values import MetricValues
from pytest_linearity.verdict.confidence import Interval
from pytest_linearity.verdict.document import KindFigures, RadiusFigures
from pytest_linearity.verdict.metrics import judge_metrics
from pytest_linearity.verdict.standing import Certainty, Standing, standing, surely_broken, why

if TYPE_CHECKING:
    from pytest_linearity.numerics.measurement.measurement import Measurement

_ERRORS = (0.0, math.inf)
_COSINES = (-1.0, 1.0)


def judge_radii(
    measured: Measurement,
    radii: Sequence[float],
    limits: Limits,
    metrics: Sequence[Metric] = (),
    certainty: Certainty | None = None,
) -> tuple[RadiusFigures, ...]:
    """The verdict on some of the measured radii.

    Args:
        measured: What was measured.
        radii: The radii, in the unit of the measurement.
        limits: The limits.
        metrics: The further metrics that the report is to have.
        certainty: How sure the verdict is to be; None where the means alone are looked at.
    """
    flips = measured.routing_flips
    return tuple(
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
            certainty=certainty,
        )
        for radius in radii
        for i in [measured.radii.index(radius)]
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
    certainty: Certainty | None = None,
) -> RadiusFigures:
    """Reduce the pairs of one radius and hold the means against the limits.

    Of several kinds of directions every one must keep the limits by itself; so does the mean over
    all of them, then. Each is a sample of its own, with intervals of its own.

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
        certainty: How sure the verdict is to be; None where the means alone are looked at.
    """
    by_kind = _judge_kinds(
        kinds, radius, relative_error, cosine_similarity, limits, metrics, certainty
    )
    certain = None if by_kind else certainty
    errors = _Reduced.of(relative_error, _ERRORS, certain)
    cosines = _Reduced.of(cosine_similarity, _COSINES, certain)
    rounding = _all_rounding(errors.mean, noise_floor, precision, limits)
    hopeless = _undefined(relative_error) or rounding
    stands = [Standing(hopeless)]
    if hopeless is None:
        stands = [
            errors.against("relative error", limits.relative_error, "smaller", certain),
            cosines.against("cosine similarity", limits.cosine_similarity, "larger", certain),
        ]
    further = judge_metrics(metrics, limits.metrics, certain)
    # Where nothing is defined, that is the reason why these are not, either.
    others = [stand for _, stand in further.values()] if errors.mean is not None else []
    sure = surely_broken([*stands, *others])
    reason = why(stands, certain, sure)
    if hopeless is None:
        reason = _with_rounding(reason, errors.mean, noise_floor, precision)
    reason = ", ".join(filter(None, [reason, why(others, certain, sure)])) or None
    in_doubt = not sure and any(stand.doubt for stand in [*stands, *others])
    if by_kind and rounding is None:
        in_doubt = _in_doubt(by_kind)
        reason = _why_kinds(by_kind, certainty) or reason
    return RadiusFigures(
        radius=radius,
        mean_relative_error=errors.mean,
        std_relative_error=errors.std,
        mean_cosine_similarity=cosines.mean,
        std_cosine_similarity=cosines.std,
        noise_floor=noise_floor,
        precision=precision,
        complies=reason is None,
        reason=reason,
        routing_flips=routing_flips,
        metrics={name: figures for name, (figures, _) in further.items()},
        by_kind=by_kind,
        interval_relative_error=errors.interval,
        interval_cosine_similarity=cosines.interval,
        inconclusive=in_doubt,
    )


@dataclass(frozen=True)
class _Reduced:
    """One figure of all pairs, reduced."""

    mean: float | None
    std: float | None
    interval: Interval | None

    @classmethod
    def of(cls, values: Tensor, bounds: Interval, certainty: Certainty | None) -> _Reduced:
        return cls(*mean_std(values), certainty.interval(values, bounds) if certainty else None)

    def against(
        self, label: str, limit: float, good: Side, certainty: Certainty | None
    ) -> Standing:
        return standing(label, self.mean, self.interval, limit, good, certainty)


def _judge_kinds(
    kinds: Sequence[str],
    radius: float,
    relative_error: Tensor,
    cosine_similarity: Tensor,
    limits: Limits,
    metrics: Sequence[MetricValues],
    certainty: Certainty | None,
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
                certainty=certainty,
            )
        )
        for kind, k in rows.items()
    }


def _in_doubt(by_kind: Mapping[str, KindFigures]) -> bool:
    found = by_kind.values()
    return any(kind.inconclusive for kind in found) and not any(map(_surely_fails, found))


def _why_kinds(by_kind: Mapping[str, KindFigures], certainty: Certainty | None) -> str | None:
    """Which kinds do not comply, each with the reason; None where all do."""
    broken = {kind: found for kind, found in by_kind.items() if not found.complies}
    sure = {kind: found for kind, found in broken.items() if _surely_fails(found)}
    if sure and certainty is not None and certainty.required:
        broken = sure
    return "; ".join(f"{kind}: {found.reason}" for kind, found in broken.items()) or None


def _surely_fails(found: KindFigures) -> bool:
    return not found.complies and not found.inconclusive


def _undefined(relative_error: Tensor) -> str | None:
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


def _all_rounding(
    error: float | None, floor: float | None, precision: str, limits: Limits
) -> str | None:
    """That rounding alone breaks the limit, where it does."""
    if floor is None or error is None or floor <= limits.relative_error:
        return None
    return (
        f"rounding alone causes a relative error of {floor:.2g} in {precision}, "
        f"above the limit {limits.relative_error:.2f}"
    )


def _with_rounding(
    reason: str | None, error: float | None, floor: float | None, precision: str
) -> str | None:
    """The reason, with what rounding has to do with it where that is much."""
    if reason is not None and floor is not None and error is not None and floor > 0.1 * error:
        return f"{reason} (of which rounding in {precision} alone causes {floor:.2g})"
    return reason
