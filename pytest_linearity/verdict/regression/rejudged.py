"""An earlier report under other limits, or on some of its directions: what would comply then."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_linearity.verdict.document import RadiusFigures, Report


@dataclass(frozen=True)
class ReportLimits:
    """What a report is judged by."""

    relative_error: float
    """Largest mean relative error."""
    cosine_similarity: float
    """Smallest mean cosine similarity."""
    metrics: Mapping[str, float]
    """Limits of further metrics, by name."""

    @classmethod
    def of(cls, report: Report) -> ReportLimits:
        """The limits that a report was judged by."""
        config, metrics = report.config, report.radii[0].metrics
        return cls(
            config["relerr_threshold"],
            config["cos_threshold"],
            {name: found.limit for name, found in metrics.items() if found.limit is not None},
        )

    def without(self, names: Collection[str]) -> ReportLimits:
        """The limits without those of some metrics."""
        return replace(self, metrics={n: v for n, v in self.metrics.items() if n not in names})


def radius_under(
    report: Report, limits: ReportLimits, rows: Sequence[int] | None = None
) -> float | None:
    """The largest radius whose means keep the limits; None where none does.

    Args:
        report: The report.
        limits: The limits.
        rows: The directions that count, as rows of its pairs; None for all.
    """
    figures = report.radii if rows is None else [_on(report, f, rows) for f in report.radii]
    return max((f.radius for f in figures if _complies(f, limits)), default=None)


def _complies(figures: RadiusFigures, limits: ReportLimits) -> bool:
    error, cosine = figures.mean_relative_error, figures.mean_cosine_similarity
    if error is None or cosine is None:
        return False
    return (
        max(error, figures.noise_floor or 0.0) <= limits.relative_error
        and cosine >= limits.cosine_similarity
        and all(figures.metrics[name].keeps(v) for name, v in limits.metrics.items())
    )


def _on(report: Report, figures: RadiusFigures, rows: Sequence[int]) -> RadiusFigures:
    """The means over some of the directions; those of figures without pairs stay."""
    pairs = report.pairs[str(figures.radius)]

    def mean(name: str, otherwise: float | None) -> float | None:
        return _mean([pairs[name][k] for k in rows]) if name in pairs else otherwise

    return replace(
        figures,
        mean_relative_error=mean("relative_error", figures.mean_relative_error),
        mean_cosine_similarity=mean("cosine_similarity", figures.mean_cosine_similarity),
        metrics={
            name: replace(found, mean=mean(name, found.mean))
            for name, found in figures.metrics.items()
        },
    )


def _mean(rows: Sequence[Sequence[Any]]) -> float | None:
    values = [value for row in rows for value in row]
    return sum(values) / len(values) if values and None not in values else None
