"""The summary for reviewers, in the Markdown of GitHub and GitLab."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_linearity.numerics.metrics.registry import ALWAYS, RELATIVE_ERROR
from pytest_linearity.report import text
from pytest_linearity.report.explanation import explanation
from pytest_linearity.report.results import (
    Failure,
    Result,
    along,
    by_config,
    counted,
    mean_at,
    of_kinds,
    radii_of,
    scopes_of,
    series_of,
    title,
)
from pytest_linearity.verdict import numbers
from pytest_linearity.verdict.document import MetricFigures, RadiusFigures, Report
from pytest_linearity.verdict.kinds import by_kind
from pytest_linearity.verdict.regression.compare import Regression

_MARKS = {True: "✅", False: "❌"}
_MOST_RADII = 4
"""So many radii have columns in the table of a series; a wider one is hard to read."""


def markdown(results: Sequence[Result], unmeasured: Sequence[Failure] = ()) -> str:
    """The verdict first, then the figures of each checkpoint, then what they were taken with.

    Args:
        results: The checkpoints that were measured.
        unmeasured: Those that could not be.

    Returns:
        Markdown that ends with a line break. Whatever comes from outside is escaped.
    """
    total = len(results) + len(unmeasured)
    blocks = [] if total == 1 else [_overview(results, unmeasured)]
    blocks += [_failure(entry) for entry in unmeasured]
    for group in by_config(results):
        blocks += map(_series, series_of(group))
        blocks += map(_scopes, scopes_of(group))
        blocks += [_folded(result) if len(group) > 1 else _result(result) for result in group]
    return "\n\n".join(blocks) + "\n"


def _overview(results: Sequence[Result], unmeasured: Sequence[Failure]) -> str:
    total = len(results) + len(unmeasured)
    failing = sum(not result.passed for result in results) + len(unmeasured)
    several = counted(total, [*results, *unmeasured])
    verdict = f"{failing} of {several} fail" if failing else f"all {several} pass"
    return f"## {_MARKS[not failing]} linearity: {verdict}"


def _failure(entry: Failure) -> str:
    return f"### ❌ {escape(entry.title)} could not be measured\n\nReason: {escape(entry.reason)}"


def _result(result: Result) -> str:
    verdict = "passes" if result.passed else "fails"
    return f"## {_MARKS[result.passed]} linearity: {escape(result.title)} {verdict}\n\n" + _body(
        result
    )


def _folded(result: Result) -> str:
    """One checkpoint of many: open where it fails, as only that one will be read."""
    state = "" if result.passed else " open"
    heading = f"{_MARKS[result.passed]} {escape(result.short)}"
    return f"<details{state}><summary>{heading}</summary>\n\n{_body(result)}\n\n</details>"


def _body(result: Result) -> str:
    report = result.report
    lines = (text.subject(report), report.probes.get("summary"), *text.circumstances(report))
    about = " · ".join(map(escape, filter(None, lines)))
    required = text.required(report)
    headline = (
        f"**linearity radius {escape(text.linearity_radius(report))}**, "
        f"tested up to {report.radii[-1].radius}{f', {escape(required)}' if required else ''}"
    )
    findings = text.findings(result)
    config = _table(
        ("key", "value"),
        [(f"`{key}`", escape(text.setting(value))) for key, value in report.config.items()],
    )
    blocks = [
        f"{headline}<br>{about}",
        *(["\n".join(f"- {escape(finding)}" for finding in findings)] if findings else []),
        *_kinds(report),
        *([_regression(result.regression)] if result.regression else []),
        f"<details><summary>config</summary>\n\n{config}\n\n</details>",
    ]
    return "\n\n".join(blocks)


def _kinds(report: Report) -> Iterator[str]:
    """Figures and what they say, of each kind of directions by itself where there are several."""
    kinds = by_kind(report)
    for kind, of_kind in kinds.items():
        if len(kinds) > 1:
            heading = escape(text.kind_heading(of_kind, kind))
            yield f"**along {heading}**: linearity radius {text.linearity_radius(of_kind)}"
        yield _figures(of_kind)
        explained = explanation(of_kind)
        if explained:
            yield "\n".join(f"- {escape(line)}" for line in explained)


def _figures(report: Report) -> str:
    config, radii = report.config, report.radii
    routed = any(figures.routing_flips is not None for figures in radii)
    header = (
        f"radius {text.radius_unit(report)}".strip(),
        *(text.metric_heading(radii[0].figures[name]) for name in ALWAYS),
        "noise floor",
        *(["routing flips"] if routed else []),
        *(escape(text.metric_heading(metric)) for metric in radii[0].metrics.values()),
        "complies",
    )
    return _table(
        header, [_row(figures, config, routed) for figures in radii], right=len(header) - 1
    )


def _row(figures: RadiusFigures, config: Mapping[str, Any], routed: bool) -> list[str]:
    complies = text.compliance(figures, config)
    cells = [
        str(figures.radius),
        *(_figure(figures.figures[name]) for name in ALWAYS),
        text.noise(figures.noise_floor),
        *([text.count(figures.routing_flips)] if routed else []),
        *map(_figure, figures.metrics.values()),
    ]
    said = text.verdict(complies, figures)
    if complies == "no":
        return [*(f"**{cell}**" if cell else "" for cell in cells), f"❌ {said}"]
    return [*cells, said]


def _figure(figures: MetricFigures) -> str:
    """A mean with its spread, and its interval on a line of its own."""
    return "<br>".join(map(escape, text.figure(figures).split("\n")))


def _regression(regression: Regression) -> str:
    columns = text.regression_columns(regression)
    table = _table(
        columns,
        [
            [escape(cell) if cell == entry.kind else cell for cell in text.regression_cells(entry)]
            for entry in regression.entries
        ],
        right=len(columns) - 1,
    )
    basis = f"; {regression.basis}" if regression.basis else ""
    notes = "".join(f"\n\n{escape(note)}" for note in regression.notes)
    return (
        f"**Against the baseline** (mean relative error; it may grow by "
        f"{regression.max_regression:.0%}{basis}); linearity radius "
        f"{escape(text.regression_radius(regression))}\n\n{table}{notes}"
    )


def _series(series: Sequence[Result]) -> str:
    """The checkpoints of one config over their steps, with the mean relative error."""
    stepped = any(result.step is not None for result in series)
    return _side_by_side(
        escape(title(series[0].name, None, series[0].scope)),
        series,
        (*["step"] * stepped, "checkpoint"),
        lambda result: [
            *["" if result.step is None else str(result.step)] * stepped,
            escape(result.label or result.short),
        ],
        {"ε": RELATIVE_ERROR.name},
    )


def _scopes(scopes: Sequence[Result]) -> str:
    """The scopes of one checkpoint side by side, with both means."""
    return _side_by_side(
        f"{escape(title(scopes[0].name, scopes[0].label))}: scopes",
        scopes,
        ("scope", "parameters", "of all"),
        lambda result: [escape(result.scope_name), *text.scope_size(result.report)],
        dict(zip(("ε", "c"), ALWAYS, strict=True)),
    )


def _side_by_side(
    heading: str,
    results: Sequence[Result],
    columns: Sequence[str],
    cells: Callable[[Result], Sequence[str]],
    metrics: Mapping[str, str],
) -> str:
    """A table of verdicts and means; of several kinds of directions every one has its own."""
    kinds = of_kinds(results)
    groups: list[tuple[str, Sequence[Result], Sequence[float]]] = []
    if len(kinds) > 1:
        groups.append((heading, results, []))
    groups += [
        (along(heading, escape(kind)), of_kind, radii_of(of_kind)[-_MOST_RADII:])
        for kind, of_kind in kinds.items()
    ]
    tables = []
    for name, of_kind, radii in groups:
        header = (*columns, "linearity radius")
        header += (*(f"{m} at r={r}" for m in metrics for r in radii), "passes")
        rows = [
            [
                *cells(result),
                escape(text.linearity_radius(result.report)),
                *(numbers.mean(mean_at(result, r, m)) for m in metrics.values() for r in radii),
                "yes" if result.passed else "❌ no",
            ]
            for result in of_kind
        ]
        tables.append(f"### {name}\n\n{_table(header, rows, right=len(header) - 1)}")
    return "\n\n".join(tables)


def _table(header: Sequence[str], rows: Iterable[Iterable[str]], *, right: int = 0) -> str:
    """A table of cells that are Markdown already, the first `right` columns aligned right."""
    rule = [*["---:"] * right, *[":---"] * (len(header) - right)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


_MEANT = re.compile(r"([\\`*_\[\]|~$])")


def escape(value: object) -> str:
    """Any text as Markdown that shows just that text, within a line and in a cell of a table."""
    one_line = " ".join(str(value).split())
    for letter, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        one_line = one_line.replace(letter, entity)
    return _MEANT.sub(r"\\\1", one_line)
