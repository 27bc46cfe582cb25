"""The verdict on one radius: the figures of its pairs, reduced and held against the limits.

The directions of a radius are one sample, or a sample of each kind of direction. A sample complies
when every metric keeps its limit, and a radius when all its samples do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_linearity.numerics.directions.kinds import rows_by_kind
from pytest_linearity.numerics.measurement.limits import Limits
from pytest_linearity.numerics.metrics.metric import Metric
from pytest_linearity.numerics.metrics.registry import ALWAYS, COSINE_SIMILARITY, RELATIVE_ERROR
from pytest_linearity.numerics.metrics.values import MetricValues
from pytest_linearity.verdict.document import RadiusFigures, SampleFigures
from pytest_linearity.verdict.metrics import judge_metric
from pytest_linearity.verdict.standing import Certainty, Standing, reasons, surely_broken

if TYPE_CHECKING:
    from pytest_linearity.numerics.measurement.measurement import Measurement


_STILL = (
    "no logit of any prompt moves along any direction: the parameters in scope have no part in the "
    "logits, and nothing is measured"
)


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
            measured.values(i, metrics),
            limits,
            noise_floor=measured.noise_floor[i],
            precision=measured.precision[i],
            routing_flips=None if flips is None else flips[i],
            still=any(measured.still[i : i + 1]),
            kinds=measured.kinds,
            certainty=certainty,
        )
        for radius in radii
        for i in [measured.radii.index(radius)]
    )


def judge_radius(
    radius: float,
    metrics: Sequence[MetricValues],
    limits: Limits,
    *,
    noise_floor: float | None = None,
    precision: str = "float32",
    routing_flips: int | None = None,
    still: bool = False,
    kinds: Sequence[str] = (),
    certainty: Certainty | None = None,
) -> RadiusFigures:
    """Reduce the pairs of one radius and hold the means against the limits.

    Of several kinds of directions every one must keep the limits by itself; so does the mean over
    all of them, then. Each is a sample of its own, with intervals of its own.

    Args:
        radius: The radius.
        metrics: The figures of every metric, relative error and cosine similarity first.
        limits: The limits.
        noise_floor: Relative error that rounding alone causes here.
        precision: Arithmetic of the forwards.
        routing_flips: Changed routing decisions, for a mixture of experts.
        still: Whether no logit moves at all: then the figures say nothing, and the radius fails.
        kinds: The kind of each direction; empty where they are all of one.
        certainty: How sure the verdict is to be; None where the means alone are looked at.
    """
    rows = rows_by_kind(kinds, len(metrics[0].values))
    by_kind = {
        kind: _judge_sample([entry.at(k) for entry in metrics], limits, certainty, Rounding())
        for kind, k in rows.items()
        if len(rows) > 1
    }
    rounding = Rounding(noise_floor, precision)
    whole = _judge_sample(metrics, limits, None if by_kind else certainty, rounding)
    reason, inconclusive = whole.reason, whole.inconclusive
    if by_kind and not rounding.breaks(whole.mean_relative_error, limits):
        reason = _why_kinds(by_kind, certainty) or whole.reason
        inconclusive = _in_doubt(by_kind)
    if still and whole.mean_relative_error == 0:  # else a derivative says that they should
        reason, inconclusive = _STILL, False
    return RadiusFigures(
        radius=radius,
        figures=whole.figures,
        noise_floor=noise_floor,
        precision=precision,
        complies=reason is None,
        reason=reason,
        routing_flips=routing_flips,
        by_kind=by_kind,
        inconclusive=inconclusive,
    )


@dataclass(frozen=True)
class Rounding:
    """What rounding alone does to the relative error of a radius."""

    floor: float | None = None
    """The relative error that it causes; None where that is not known."""
    precision: str = "float32"
    """The arithmetic."""

    def breaks(self, error: float | None, limits: Limits) -> str | None:
        """That rounding alone breaks the limit of a mean that is defined, where it does."""
        if self.floor is None or error is None or self.floor <= limits.relative_error:
            return None
        return (
            f"rounding alone causes a relative error of {self.floor:.2g} in {self.precision}, "
            f"above the limit {limits.relative_error:.2f}"
        )

    def share(self, error: float | None) -> str:
        """What part of a mean is rounding, where that is much."""
        if self.floor is None or error is None or self.floor <= 0.1 * error:
            return ""
        return f" (of which rounding in {self.precision} alone causes {self.floor:.2g})"


def _judge_sample(
    metrics: Sequence[MetricValues],
    limits: Limits,
    certainty: Certainty | None,
    rounding: Rounding,
) -> SampleFigures:
    """Reduce the pairs of one sample of directions and hold every mean against its limit."""
    judged = {m.metric.name: judge_metric(m, limits.of(m.metric), certainty) for m in metrics}
    figures = {name: reduced for name, (reduced, _) in judged.items()}
    standings = {name: stands for name, (_, stands) in judged.items()}
    error = figures[RELATIVE_ERROR.name].mean
    share = rounding.share(error)
    if error is None:
        # Where logits are not defined, that is the reason why nothing else is, either.
        standings = {RELATIVE_ERROR.name: standings[RELATIVE_ERROR.name]}
    elif noise := rounding.breaks(error, limits):
        standings |= {RELATIVE_ERROR.name: Standing(noise), COSINE_SIMILARITY.name: Standing()}
        share = ""
    said = reasons(list(standings.values()), certainty)
    always = ", ".join(filter(None, said[: len(ALWAYS)]))
    reason = ", ".join(filter(None, [always and always + share, *said[len(ALWAYS) :]])) or None
    return SampleFigures(
        figures=figures,
        complies=reason is None,
        reason=reason,
        inconclusive=not surely_broken(standings.values())
        and any(stands.doubt for stands in standings.values()),
    )


def _in_doubt(by_kind: Mapping[str, SampleFigures]) -> bool:
    """Whether more directions could change the verdict on a radius of several kinds."""
    kinds = by_kind.values()
    return any(kind.inconclusive for kind in kinds) and not any(map(_surely_fails, kinds))


def _why_kinds(by_kind: Mapping[str, SampleFigures], certainty: Certainty | None) -> str | None:
    """Which kinds do not comply, each with the reason; None where all do."""
    broken = {kind: figures for kind, figures in by_kind.items() if not figures.complies}
    sure = {kind: figures for kind, figures in broken.items() if _surely_fails(figures)}
    if sure and certainty is not None and certainty.required:
        broken = sure
    return "; ".join(f"{kind}: {figures.reason}" for kind, figures in broken.items()) or None


def _surely_fails(figures: SampleFigures) -> bool:
    return not figures.complies and not figures.inconclusive
