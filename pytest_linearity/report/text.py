"""Figures as people read them, the same in every form of the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_linearity.verdict import numbers
from pytest_linearity.verdict.kinds import facts_of, kinds_of, must_comply, worst_kinds

if TYPE_CHECKING:
    from pytest_linearity.report.results import Result
    from pytest_linearity.verdict.document import (
        MetricFigures,
        RadiusFigures,
        Report,
        SampleFigures,
    )
    from pytest_linearity.verdict.regression.compare import RadiusRegression, Regression
    from pytest_linearity.verdict.update_figures import UpdateFigures


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
    """The linearity radius, and along which kind of directions; ``none`` where none complies."""
    radius, worst = numbers.linearity_radius(report.linearity_radius), worst_kinds(report)
    return f"{radius} along {' and '.join(worst)}" if worst else radius


def required(report: Report) -> str:
    """The linearity radius that passes, as ``0.3 is required``; nothing where none is set."""
    least = report.config.get("min_linearity_radius")
    if least is None:
        return ""
    said = least_radius(report)
    return f"required: {said}" if isinstance(least, Mapping) else f"{said} is required"


def least_radius(report: Report) -> str:
    """The linearity radius that passes, along each kind of directions where kinds differ in it."""
    least = report.config.get("min_linearity_radius")
    if not isinstance(least, Mapping):
        return numbers.linearity_radius(least)
    return ", ".join(
        f"{'every radius' if least.get(kind) is None else least[kind]} along {kind}"
        for kind in kinds_of(report)
    )


def circumstances(report: Report) -> list[str]:
    """What else the figures are of: scope, chat template, and a kind that is not ``gaussian``."""
    kinds = kinds_of(report)
    named = len(kinds) == 1 and kinds != ("gaussian",)
    along = [f"along {kind_heading(report, kinds[0])}"] if named else []
    return [*scope_and_template(report), *along]


def scope_and_template(report: Report) -> list[str]:
    """Which parameters were perturbed, and what wrote the prompts, if that is known."""
    scope, share = report.scope.get("param_scope"), scope_size(report)[1]
    scope = scope or report.config.get("param_scope") or "full"
    parts = [f"scope {scope}" + (f" ({share} of all parameters)" if scope != "full" else "")]
    if "template" in report.probes:
        template = report.probes["template"]
        named = "of the tokenizer" if template == "tokenizer" else template
        parts.append("no chat template" if template is None else f"chat template {named}")
    return parts


def kind_heading(report: Report, kind: str) -> str:
    """A kind of directions, and what is known of its vector or how many there are of it."""
    facts = facts_of(report, kind)
    if "norm" in facts:
        return f"{kind}, norm {facts['norm']:.4g}"
    count = facts.get("count")
    return kind if count is None else f"{kind}, {count} direction{'s' * (count != 1)}"


def compliance(figures: RadiusFigures, config: Mapping[str, Any]) -> str:
    """Whether a radius complies, and if not, whether it need not: ``yes``, ``no (allowed)``."""
    if figures.complies:
        return "yes"
    return "no" if must_comply(figures, config) else "no (allowed)"


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
    unit = report.config.get("radius_unit")
    of = {"relative": "of norm", "update": "of the update", "learning_rate": "learning rate"}
    if unit not in of:
        return ""
    length = report.scope.get("norm" if unit == "relative" else "unit_length")
    if length is None or unit == "learning_rate":
        return of[unit]
    return f"{of[unit]} {length:.4g}"


def rate(value: float) -> str:
    """A learning rate in two digits, as `3e-05`."""
    return f"{value:.1e}".replace(".0e", "e")


def scope_size(report: Report) -> tuple[str, str]:
    """How many parameters a report's scope holds, and what part of all that is, as ``12.3%``."""
    number, total = report.scope.get("parameters"), report.checkpoint.get("parameters")
    if number is None:
        return "", ""
    return f"{number:,}", f"{number / total:.1%}" if total else ""


REGRESSION_COLUMNS = ("radius", "baseline", "now", "growth", "95% interval", "verdict")
"""Headers of the comparison with a baseline."""


def regression_columns(regression: Regression) -> tuple[str, ...]:
    """Those headers, with one for the kind of directions where there are several."""
    radius, *further = REGRESSION_COLUMNS
    return (radius, *["along"] * bool(regression.by_kind), *further)


def regression_cells(entry: RadiusRegression) -> list[str]:
    """One radius of that comparison, along one kind of directions."""
    interval = entry.interval
    return [
        str(entry.radius),
        *([entry.kind] if entry.kind else []),
        numbers.mean(entry.baseline),
        numbers.mean(entry.current),
        "-" if entry.growth is None else f"{100 * entry.growth:+.3g}%",
        "-" if interval is None else f"[{interval[0]:.2g}, {interval[1]:.2g}]",
        entry.status,
    ]


def regression_radius(regression: Regression) -> str:
    """The linearity radius of the baseline and that of now, of each kind of directions."""
    kinds = regression.by_kind or {"": regression}
    return "; ".join(
        f"{numbers.linearity_radius(one.baseline_radius)} → "
        f"{numbers.linearity_radius(one.linearity_radius)}{f' along {kind}' if kind else ''}"
        for kind, one in kinds.items()
    )


def update(figures: UpdateFigures) -> str:
    """How far the fine-tune moved, in its own unit, and whether that is its linear regime."""
    if figures.complies is None:
        return f"the update from {figures.base} is not measured: {figures.reason}"
    times, moved = figures.in_linearity_radii, f"the fine-tune moved {figures.norm:.3g}"
    if figures.norm and times is not None:
        radius = f"its linearity radius along the update, {figures.norm / times:.3g}"
        moved += f", within {radius}" if times < 1 else f", {times:.2g} times {radius}"
    return f"{moved}: {'in' if figures.complies else 'outside'} the linear regime"


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
