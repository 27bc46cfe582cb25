"""Figures as people read them, the same in every form of the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_linearity.numerics.metrics.registry import ALWAYS
from pytest_linearity.verdict import numbers

if TYPE_CHECKING:
    from pytest_linearity.report.results import Result
    from pytest_linearity.verdict.document import (
        MetricFigures,
        RadiusFigures,
        Report,
        SampleFigures,
    )
    from pytest_linearity.verdict.regression.compare import RadiusRegression


def metric_limit(figures: MetricFigures) -> str:
    """What a metric's mean must keep; nothing where it does not gate."""
    if figures.limit is None:
        return ""
    return f"{'≤' if figures.good == 'smaller' else '≥'} {numbers.limit(figures.limit)}"


def metric_heading(figures: MetricFigures) -> str:
    """What a metric is called, with its limit."""
    return f"{figures.label} {metric_limit(figures)}".rstrip()


def always_heading(report: Report, name: str) -> str:
    """The same of relative error ε or cosine similarity c, with its letter."""
    figures = report.radii[0].figures[name]
    letter = {"relative_error": "ε", "cosine_similarity": "c"}[name]
    return f"{figures.label} {letter} {metric_limit(figures)}"


def figure(figures: MetricFigures) -> str:
    """A mean with its standard deviation, and below it the interval that it lies in."""
    shown = numbers.spread(figures.mean, figures.std)
    return shown if figures.interval is None else f"{shown}\n{numbers.interval(figures.interval)}"


def noise(floor: float | None) -> str:
    """A noise floor; nothing where it was not measured."""
    return "" if floor is None else f"{floor:.1e}"


def count(number: int | None) -> str:
    """A count; nothing where there is none."""
    return "" if number is None else f"{number:,d}"


def linearity_radius(report: Report) -> str:
    """The linearity radius; ``none`` where no tested radius complies."""
    return numbers.linearity_radius(report.linearity_radius)


def compliance(figures: RadiusFigures, config: Mapping[str, Any]) -> str:
    """Whether a radius complies, and if not, whether it need not: ``yes``, ``no (allowed)``."""
    if figures.complies:
        return "yes"
    least = config.get("min_linearity_radius")
    return "no (allowed)" if least is not None and figures.radius > least else "no"


def verdict(complies: str, figures: RadiusFigures | SampleFigures) -> str:
    """Whether a radius complies, and that this is inconclusive, where it is."""
    return f"{complies}, inconclusive" if figures.inconclusive else complies


def findings(result: Result) -> list[str]:
    """What is wrong with a checkpoint, a line each: limits that do not hold, then regressions."""
    report, regression = result.report, result.regression
    lines = [
        f"r={figures.radius}: {figures.reason or 'does not comply'}"
        for figures in report.radii
        if compliance(figures, report.config) == "no"
    ]
    if regression is not None:
        lines += [entry.reason for entry in regression.radii if entry.reason is not None]
        lines += [regression.radius_reason] if regression.radius_reason else []
    return lines


def setting(value: Any) -> str:
    """A value of config or environment as a person would write it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def radius_unit(report: Report) -> str:
    """What the radii are parts of, as ``of norm 45.2``; nothing where they are absolute."""
    if report.config.get("radius_unit") != "relative":
        return ""
    norm = report.scope.get("norm")
    return "of norm" if norm is None else f"of norm {norm:.4g}"


def scope_size(report: Report) -> tuple[str, str]:
    """How many parameters a report's scope holds, and what part of all that is, as ``12.3%``."""
    number, total = report.scope.get("parameters"), report.checkpoint.get("parameters")
    if number is None:
        return "", ""
    return f"{number:,}", f"{number / total:.1%}" if total else ""


KIND_COLUMNS = ("radius", "directions", *(m.label for m in ALWAYS.values()), "complies")
"""Headers of the figures by kind of direction."""


def kind_rows(report: Report) -> list[tuple[list[str], bool]]:
    """Those figures, where there are several kinds: cells, and whether the kind complies."""
    return [
        (
            [
                str(figures.radius),
                kind,
                *(figure(sample.figures[name]) for name in ALWAYS),
                verdict("yes" if sample.complies else "no", sample),
            ],
            sample.complies,
        )
        for figures in report.radii
        for kind, sample in figures.by_kind.items()
    ]


REGRESSION_COLUMNS = ("radius", "baseline", "now", "growth", "95% interval", "verdict")
"""Headers of the comparison with a baseline."""


def regression_cells(entry: RadiusRegression) -> list[str]:
    """One radius of that comparison."""
    interval = entry.interval
    return [
        str(entry.radius),
        numbers.mean(entry.baseline),
        numbers.mean(entry.current),
        "-" if entry.growth is None else f"{100 * entry.growth:+.3g}%",
        "-" if interval is None else f"[{interval[0]:.2g}, {interval[1]:.2g}]",
        entry.status,
    ]


def subject(report: Report) -> str:
    """The checkpoint in one line."""
    checkpoint = report.checkpoint
    dtypes = checkpoint.get("dtypes") or {}
    others = {dtype: count for dtype, count in dtypes.items() if dtype != checkpoint["dtype"]}
    return (
        f"{checkpoint['path']}: {checkpoint['architecture']}, "
        f"{checkpoint['parameters']:,} parameters, {checkpoint['dtype']}"
        + "".join(f", {count:,} of them {dtype}" for dtype, count in others.items())
    )
