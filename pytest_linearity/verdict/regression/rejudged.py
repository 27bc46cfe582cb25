"""An earlier report under other limits, or on some of its directions: what would comply then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_linearity.numerics.metrics.registry import RELATIVE_ERROR
from pytest_linearity.verdict.document import RadiusFigures, Report


def radius_under(
    report: Report, limits: Mapping[str, float], rows: Sequence[int] | None = None
) -> float | None:
    """The largest radius whose means keep the limits; None where none does.

    Args:
        report: The report.
        limits: The limits, by name of the metric.
        rows: The directions that count, as rows of its pairs; None for all.
    """
    figures = report.radii if rows is None else [_on(report, f, rows) for f in report.radii]
    return max((f.radius for f in figures if _complies(f, limits)), default=None)


def _complies(figures: RadiusFigures, limits: Mapping[str, float]) -> bool:
    below_noise = (figures.noise_floor or 0.0) > limits[RELATIVE_ERROR.name]
    return not below_noise and all(figures.figures[n].keeps(v) for n, v in limits.items())


def _on(report: Report, figures: RadiusFigures, rows: Sequence[int]) -> RadiusFigures:
    """The means over some of the directions; those of figures without pairs stay."""
    pairs = report.pairs[str(figures.radius)]
    means = {name: _mean([pairs[name][k] for k in rows]) for name in figures.figures.keys() & pairs}
    return replace(
        figures,
        figures={
            name: replace(metric, mean=means.get(name, metric.mean))
            for name, metric in figures.figures.items()
        },
    )


def _mean(rows: Sequence[Sequence[Any]]) -> float | None:
    values = [value for row in rows for value in row]
    return sum(values) / len(values) if values and None not in values else None
