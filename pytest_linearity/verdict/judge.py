"""The verdict on a checkpoint: all radii, and the largest that complies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_linearity.numerics.directions.kinds import RANDOM, rows_by_kind
from pytest_linearity.numerics.measurement.radius_unit import absolute_radius, relative_radius
from pytest_linearity.numerics.metrics.registry import ALWAYS
from pytest_linearity.verdict.diagnosis import diagnosis, matrix
from pytest_linearity.verdict.diagnosis_figures import Matrix
from pytest_linearity.verdict.document import RadiusFigures, Report, SamplingFigures
from pytest_linearity.verdict.limits import certainty_of, limits_of
from pytest_linearity.verdict.radius import judge_radii

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config
    from pytest_linearity.numerics.measurement.measurement import Measurement
    from pytest_linearity.verdict.findings import Findings


def judge(findings: Findings, config: Config) -> Report:
    """The report on what was found, held against the limits of a config.

    Args:
        findings: What was found.
        config: Sets limits, and radii that are all among the measured ones.
    """
    measured, metrics = findings.measurement, config.chosen_metrics
    norm, unit = findings.scope.get("norm"), config.radius_unit
    radii = judge_radii(measured, config.radii, limits_of(config), metrics, certainty_of(config))
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
        sampling=_sampling(measured, radii, config),
        **diagnosis(measured, config),
    )


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


def _sampling(
    measured: Measurement, radii: Sequence[RadiusFigures], config: Config
) -> SamplingFigures:
    plan, rows = config.sampling, rows_by_kind(measured.kinds, measured.relative_error.shape[1])
    drawn = max((len(k) for kind, k in rows.items() if not kind or kind in RANDOM), default=0)
    return SamplingFigures(
        directions=drawn,
        rounds=plan.counts_up_to(drawn),
        planned=plan.counts if drawn else (),
        confidence=plan.confidence,
        level=plan.level,
        settled=tuple(figures.radius for figures in radii if not figures.inconclusive),
    )


def _pairs(
    measured: Measurement, radii: Sequence[float], metrics: Sequence[str]
) -> dict[str, dict[str, Matrix]]:
    """The figures of every pair, by radius as the report spells it and by metric."""
    places = {str(radius): measured.radii.index(radius) for radius in radii}
    return {
        spelled: {name: matrix(measured.figures[name][place]) for name in (*ALWAYS, *metrics)}
        for spelled, place in places.items()
    }
