"""The report as a table for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pytest_linearity.numerics.metrics.registry import ALWAYS
from pytest_linearity.report import text
from pytest_linearity.report.explanation import explanation
from pytest_linearity.report.style import PLAIN, Style
from pytest_linearity.report.terminal.tables import draw, header, table
from pytest_linearity.verdict.document import MetricFigures, RadiusFigures, Report
from pytest_linearity.verdict.kinds import by_kind, worst_kinds

_METRIC_WIDTH = 19
"""Width of a metric's column, with the space around it."""
_STYLES = {"yes": "green", "no": "bold red", "no (allowed)": "yellow"}


def render(report: Report, title: str, style: Style = PLAIN, *, footer: str = "") -> str:
    """The report as text for a terminal.

    Args:
        report: What to show.
        title: What the report is of; the first line.
        style: How it is shown.
        footer: The last line, if any.

    Example:
        >>> from pytest_linearity import analyze, load_config
        >>> few = ["num_directions=2", "max_samples=2"]
        >>> report = analyze(load_config("examples/arithmetic/linearity.yaml", few))
        >>> print(render(report, "arithmetic").splitlines()[0])
        arithmetic
    """
    parts: list[RenderableType] = [
        Text(title, style="bold"),
        Text(_subject(report), style="dim"),
        *_update(report, style),
        *_figures(report, style),
        *_verdict(report),
    ]
    if footer:
        parts.append(Text(footer, style="dim"))
    return draw(Group(*parts), style)


def _figures(report: Report, style: Style) -> Iterator[RenderableType]:
    """Tables and sentences, of each kind of directions by itself where there are several."""
    kinds = by_kind(report)
    for kind, of_kind in kinds.items():
        if len(kinds) > 1:
            yield Text(f"\nalong {text.kind_heading(of_kind, kind)}", style="bold")
        yield _figures_table(of_kind, style)
        yield from _metrics_tables(of_kind, style)
        yield _linearity_radius(of_kind)
        yield from _explanation(of_kind, style)


def _figures_table(report: Report, style: Style) -> Table:
    """One row per radius: what is always measured, noise floor, compliance."""
    shown = table(style)
    shown.add_column(_radius_header(report), justify="right", overflow="fold")
    _add_metrics(shown, report, list(ALWAYS), style)
    routed = any(figures.routing_flips is not None for figures in report.radii)
    for column in ("noise floor", *["routing flips"] * routed):
        shown.add_column(column, justify="right", overflow="fold")
    shown.add_column("complies", overflow="fold")
    for figures in report.radii:
        shown.add_row(
            str(figures.radius),
            *(_figure(figures.figures[name], style) for name in ALWAYS),
            text.noise(figures.noise_floor),
            *[text.count(figures.routing_flips)] * routed,
            _compliance(figures, report.config),
        )
    return shown


def _metrics_table(report: Report, names: Sequence[str], style: Style) -> Table:
    """One row per radius: these further metrics, in red where one breaks its limit."""
    shown = table(style)
    shown.add_column(_radius_header(report), justify="right", overflow="fold")
    _add_metrics(shown, report, names, style)
    for figures in report.radii:
        metrics = [figures.figures[name] for name in names]
        cells = [_figure(m, style, "" if m.complies else "bold red") for m in metrics]
        shown.add_row(str(figures.radius), *cells)
    return shown


def _add_metrics(shown: Table, report: Report, names: Sequence[str], style: Style) -> None:
    """A column per metric, with its limit in the header."""
    for name in names:
        first = report.radii[0].figures[name]
        limit = style.spelled(text.metric_limit(first))
        shown.add_column(header(first.label, limit), justify="right", overflow="fold")


def _metrics_tables(report: Report, style: Style) -> list[Table]:
    """The further metrics, as many side by side as there is room for."""
    names = list(report.radii[0].metrics)
    at_once = max(1, (style.width - _METRIC_WIDTH // 2) // _METRIC_WIDTH)
    groups = [names[start : start + at_once] for start in range(0, len(names), at_once)]
    return [_metrics_table(report, group, style) for group in groups]


def _subject(report: Report) -> str:
    probes = report.probes.get("summary")
    about = ", ".join(text.circumstances(report))
    return "\n".join(filter(None, [text.subject(report), probes, about]))


def _update(report: Report, style: Style) -> list[Text]:
    """The fine-tune in its own unit, where a base is known."""
    update = report.update
    if update is None:
        return []
    color = {True: "bold green", False: "bold red", None: "dim"}[update.complies]
    return [Text(style.spelled(text.update(update)), style=color)]


def _linearity_radius(report: Report) -> Text:
    return Text.assemble(
        " ",
        ("linearity radius ", "bold"),
        (text.linearity_radius(report), "bold green" if report.passed else "bold red"),
        (f"  tested up to {report.radii[-1].radius}", "dim"),
    )


def _verdict(report: Report) -> list[Text]:
    """The verdict along all kinds of directions, where there are several: that of the worst."""
    kinds = len(by_kind(report))
    if kinds < 2:
        return []
    of_all = "" if worst_kinds(report) else f" along all {kinds} kinds"
    return [
        Text.assemble(
            "\n ",
            ("linearity radius ", "bold"),
            (text.linearity_radius(report) + of_all, "bold green" if report.passed else "bold red"),
            ("  passes" if report.passed else "  fails", "dim"),
        )
    ]


def _explanation(report: Report, style: Style) -> list[Padding]:
    """Each sentence with a mark of its own, from which its further lines stand back."""
    lines = explanation(report)
    if not lines:
        return []
    grid = Table.grid(padding=(0, 1))
    grid.add_column()
    grid.add_column(overflow="fold")
    for line in lines:
        grid.add_row("-" if style.ascii_only else "•", Text(style.spelled(line)))
    return [Padding(grid, (0, 0, 0, 1))]


def _radius_header(report: Report, name: str = "radius") -> Text | str:
    unit = text.radius_unit(report)
    return header(name, unit) if unit else name


def _compliance(figures: RadiusFigures, config: Mapping[str, Any]) -> Text:
    said = text.verdict(text.compliance(figures, config), figures)
    return Text(said, style=_color(said))


def _color(said: str) -> str:
    """The colour of a verdict; yellow where it is inconclusive."""
    return _STYLES.get(said, "yellow")


def _figure(figures: MetricFigures, style: Style, color: str = "") -> Text:
    return _dim_below(style.spelled(text.figure(figures)), color)


def _dim_below(cell: str, color: str = "") -> Text:
    """A cell whose second line stands back."""
    first, _, second = cell.partition("\n")
    return Text.assemble((first, color), *([("\n" + second, "dim")] if second else []))
