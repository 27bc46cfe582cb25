"""The verdict on a checkpoint: all radii, and the largest that complies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_linearity.numerics.directions.kinds import RANDOM, rows_by_kind
from pytest_linearity.numerics.metrics.registry import ALWAYS
from pytest_linearity.verdict.diagnosis import diagnosis, matrix
from pytest_linearity.verdict.diagnosis_figures import Matrix
from pytest_linearity.verdict.document import (
    RadiusFigures,
    Report,
    SamplingFigures,
    linearity_radii,
)
from pytest_linearity.verdict.kinds import radii_of_kind
from pytest_linearity.verdict.limits import certainty_of, limits_of
from pytest_linearity.verdict.passing import linearity_radius, passes
from pytest_linearity.verdict.radius import judge_radii
from pytest_linearity.verdict.units import in_all_units
from pytest_linearity.verdict.update import judge_update

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
    config = findings.settled(config)
    measured, metrics = at_own_radii(findings.measurement, config), config.chosen_metrics
    tested, certainty = config.tested_radii, certainty_of(config)
    radii = judge_radii(measured, tested, limits_of(config), metrics, certainty)
    radii = tuple(in_all_units(figures, findings.scope) for figures in radii)
    return Report(
        config=config.to_dict(),
        checkpoint=findings.checkpoint,
        radii=radii,
        linearity_radius=_smallest(radii),
        passed=_passes(radii, config),
        probes=findings.probes,
        scope=findings.scope,
        environment=findings.environment,
        pairs=_pairs(measured, tested, [metric.name for metric in metrics]),
        sampling=_sampling(measured, radii, config),
        update=judge_update(findings.update, config),
        **diagnosis(measured, config),
    )


def at_own_radii(measured: Measurement, config: Config) -> Measurement:
    """A measurement without what was measured along a kind of directions at radii of others."""
    radii = config.radii_by_kind
    by_kind = {kind: facts.at(radii[kind]) for kind, facts in measured.by_kind.items()}
    return replace(measured, by_kind=by_kind)


def _smallest(radii: Sequence[RadiusFigures]) -> float | None:
    """The linearity radius: of several kinds of directions that of the worst."""
    reached = linearity_radii(radii).values() or [linearity_radius(radii)]
    return None if None in reached else min(filter(None, reached))


def _passes(radii: Sequence[RadiusFigures], config: Config) -> bool:
    kinds = config.directions
    if len(kinds) == 1:
        return passes(radii, config.least_radius(kinds[0]))
    return all(passes(radii_of_kind(radii, kind), config.least_radius(kind)) for kind in kinds)


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
    """The figures of every pair, by radius as the report spells it and by metric.

    At each radius they are those of the kinds of directions that have it.
    """
    pairs = {}
    for radius in radii:
        place = measured.radii.index(radius)
        rows = [row for k in measured.rows_at(radius).values() for row in k]
        pairs[str(radius)] = {
            name: matrix(measured.figures[name][place][rows]) for name in (*ALWAYS, *metrics)
        }
    return pairs
