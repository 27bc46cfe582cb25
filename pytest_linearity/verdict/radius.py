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
            [entry.at(every) if len(every) < len(entry.values) else entry for entry in metrics_at],
            limits,
            noise_floor=measured.noise_floor[i],
            precision=measured.precision[i],
            routing_flips=None if flips is None else flips[i],
            still=any(measured.still[i : i + 1]),
            kinds=[kind for kind, k in rows.items() for _ in k] if measured.kinds else (),
            samples=_samples(measured, radius),
            certainty=certainty,
        )
        for radius in radii
        for i in [measured.radii.index(radius)]
        for rows in [measured.rows_at(radius)]
        for every in [[row for k in rows.values() for row in k]]
        for metrics_at in [measured.values(i, metrics)]
    )


@dataclass(frozen=True)
class Sample:
    """What holds of the directions of one kind at one radius, beside their figures."""

    noise_floor: float | None = None
    """Relative error that rounding alone causes along them."""
    routing_flips: int | None = None
    """Changed routing decisions, for a mixture of experts."""
    still: bool = False
    """Whether no logit moves along any of them."""


def _samples(measured: Measurement, radius: float) -> dict[str, Sample]:
    """Those of several kinds that were measured at a radius."""
    samples = {}
    for kind, facts in measured.by_kind.items():
        if radius in facts.radii:
            place, flips = facts.radii.index(radius), facts.routing_flips
            samples[kind] = Sample(
                facts.noise_floor[place],
                None if flips is None else flips[place],
                facts.still[place],
            )
    return samples


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
    samples: Mapping[str, Sample] | None = None,
    certainty: Certainty | None = None,
) -> RadiusFigures:
    """Reduce the pairs of one radius and hold the means against the limits.

    Of several kinds of directions each is a sample of its own, with intervals of its own, and every
    one must keep its limits: figures of all of them together are given, and decide nothing.

    Args:
        radius: The radius.
        metrics: The figures of every metric, relative error and cosine similarity first.
        limits: The limits.
        noise_floor: Relative error that rounding alone causes here.
        precision: Arithmetic of the forwards.
        routing_flips: Changed routing decisions, for a mixture of experts.
        still: Whether no logit moves at all: then the figures say nothing, and the radius fails.
        kinds: The kind of each direction; empty where they are all of one.
        samples: What holds of each kind by itself, where there are several; also where only one of
            them has this radius.
        certainty: How sure the verdict is to be; None where the means alone are looked at.
    """
    rows = rows_by_kind(kinds, len(metrics[0].values))
    several = len(rows) > 1 or bool(samples)
    everywhere = Sample(noise_floor, routing_flips, still)
    by_kind = {
        kind: _judge_sample(
            [entry.at(k) for entry in metrics],
            limits.of_kind(kind),
            certainty,
            (samples or {}).get(kind, everywhere if len(rows) == 1 else Sample(noise_floor)),
            precision,
        )
        for kind, k in rows.items()
        if several
    }
    whole = _judge_sample(metrics, limits, None if by_kind else certainty, everywhere, precision)
    reason, inconclusive = whole.reason, whole.inconclusive
    if by_kind and whole.reason != _STILL:
        reason, inconclusive = _why_kinds(by_kind, certainty), _in_doubt(by_kind)
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
        limit = limits.relative_error
        if self.floor is None or error is None or limit is None or self.floor <= limit:
            return None
        return (
            f"rounding alone causes a relative error of {self.floor:.2g} in {self.precision}, "
            f"above the limit {limit:.2f}"
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
    sample: Sample,
    precision: str,
) -> SampleFigures:
    """Reduce the pairs of one sample of directions and hold every mean against its limit."""
    rounding = Rounding(sample.noise_floor, precision)
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
    doubt = any(stands.doubt for stands in standings.values())
    if sample.still and error == 0:  # else a derivative says that they should
        reason, doubt = _STILL, False
    return SampleFigures(
        figures=figures,
        noise_floor=sample.noise_floor,
        routing_flips=sample.routing_flips,
        complies=reason is None,
        reason=reason,
        inconclusive=doubt and not surely_broken(standings.values()),
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
