"""The report as a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pytest_linearity.report import text
from pytest_linearity.report.explanation import explanation
from pytest_linearity.report.terminal.tables import ASCII_BOX, SPELLED_OUT, draw
from pytest_linearity.verdict import numbers
from pytest_linearity.verdict.confidence import Interval
from pytest_linearity.verdict.document import RadiusFigures, Report

_METRIC_WIDTH = 19
"""Width of a metric's column, with the space around it."""
_STYLES = {"yes": "green", "no": "bold red", "no (allowed)": "yellow"}


def render(
    report: Report,
    title: str,
    *,
    width: int = 80,
    color: bool = False,
    encoding: str = "utf-8",
    footer: str = "",
) -> str:
    """The report as text for a terminal.

    Args:
        report: What to show.
        title: What the report is of; the first line.
        width: Columns of the terminal.
        color: Whether it shows colours.
        encoding: What its stream is encoded in; one that has no `±` gets `+/-`.
        footer: The last line, if any.
    """
    ascii_only = not encoding.lower().startswith("utf")
    parts: list[RenderableType] = [
        Text(title, style="bold"),
        Text(_subject(report), style="dim"),
        figures_table(report, ascii_only=ascii_only),
        *_metrics_tables(report, width, ascii_only=ascii_only),
        *([kinds_table(report, ascii_only=ascii_only)] if report.radii[0].by_kind else []),
        _verdict(report),
        *_explanation(report, ascii_only=ascii_only),
    ]
    if footer:
        parts.append(Text(footer, style="dim"))
    return draw(Group(*parts), width=width, color=color)


def figures_table(report: Report, *, ascii_only: bool = False) -> Table:
    """One row per radius: both metrics against their limits, noise floor, compliance."""
    config = report.config
    spell = SPELLED_OUT if ascii_only else {}
    errors = _header(
        "relative error", f"≤ {numbers.limit(config['relerr_threshold'])}".translate(spell)
    )
    cosines = _header(
        "cosine similarity", f"≥ {numbers.limit(config['cos_threshold'])}".translate(spell)
    )
    table = Table(
        box=ASCII_BOX if ascii_only else SIMPLE_HEAD,
        header_style="bold",
        padding=(0, 1),
        collapse_padding=True,
    )
    for header in (_radius_header(report), errors, cosines, "noise floor"):
        table.add_column(header, justify="right", overflow="fold")
    routed = any(figures.routing_flips is not None for figures in report.radii)
    if routed:
        table.add_column("routing flips", justify="right", overflow="fold")
    table.add_column("complies", overflow="fold")
    for figures in report.radii:
        flips = [text.count(figures.routing_flips)] if routed else []
        table.add_row(
            str(figures.radius),
            _figure(
                figures.mean_relative_error,
                figures.std_relative_error,
                figures.interval_relative_error,
                spell,
            ),
            _figure(
                figures.mean_cosine_similarity,
                figures.std_cosine_similarity,
                figures.interval_cosine_similarity,
                spell,
            ),
            text.noise(figures.noise_floor),
            *flips,
            _compliance(figures, config),
        )
    return table


def metrics_table(report: Report, names: Sequence[str], *, ascii_only: bool = False) -> Table:
    """One row per radius: further metrics against the limits that they have.

    Args:
        report: What to show.
        names: The metrics that get columns.
        ascii_only: Whether letters and lines must be ASCII.
    """
    spell = SPELLED_OUT if ascii_only else {}
    table = Table(
        box=ASCII_BOX if ascii_only else SIMPLE_HEAD,
        header_style="bold",
        padding=(0, 1),
        collapse_padding=True,
    )
    table.add_column(_radius_header(report), justify="right", overflow="fold")
    for name in names:
        first = report.radii[0].metrics[name]
        limit = text.metric_limit(first).translate(spell)
        table.add_column(_header(first.label, limit), justify="right", overflow="fold")
    for figures in report.radii:
        found = [figures.metrics[name] for name in names]
        cells = [
            _figure(
                entry.mean,
                entry.std,
                entry.interval,
                spell,
                style="" if entry.complies else "bold red",
            )
            for entry in found
        ]
        table.add_row(str(figures.radius), *cells)
    return table


def kinds_table(report: Report, *, ascii_only: bool = False) -> Table:
    """One row per radius and kind of direction."""
    table = Table(
        box=ASCII_BOX if ascii_only else SIMPLE_HEAD,
        header_style="bold",
        padding=(0, 1),
        collapse_padding=True,
    )
    radius, kind, *figures, complies = text.KIND_COLUMNS
    table.add_column(_radius_header(report, radius), justify="right", overflow="fold")
    table.add_column(kind, overflow="fold")
    for header in figures:
        table.add_column(header, justify="right", overflow="fold")
    table.add_column(complies, overflow="fold")
    above = ""
    for (at, *cells), _ in text.kind_rows(report):
        shown = ["" if at == above else at, *cells]  # a radius once, before its first kind
        above = at
        spelled = [cell.translate(SPELLED_OUT) if ascii_only else cell for cell in shown]
        table.add_row(*map(_dim_below, spelled[:-1]), Text(spelled[-1], style=_style(spelled[-1])))
    return table


def _metrics_tables(report: Report, width: int, *, ascii_only: bool) -> list[Table]:
    """The further metrics, as many side by side as there is room for."""
    names = list(report.radii[0].metrics)
    at_once = max(1, (width - _METRIC_WIDTH // 2) // _METRIC_WIDTH)
    groups = [names[start : start + at_once] for start in range(0, len(names), at_once)]
    return [metrics_table(report, group, ascii_only=ascii_only) for group in groups]


def _subject(report: Report) -> str:
    probes = report.probes.get("summary")
    return f"{text.subject(report)}\n{probes}" if probes else text.subject(report)


def _verdict(report: Report) -> Text:
    return Text.assemble(
        " ",
        ("linearity radius ", "bold"),
        (text.linearity_radius(report), "bold green" if report.passed else "bold red"),
        (f"  tested up to {report.radii[-1].radius}", "dim"),
    )


def _explanation(report: Report, *, ascii_only: bool) -> list[Padding]:
    """Each sentence with a mark of its own, from which its further lines stand back."""
    lines = explanation(report)
    if not lines:
        return []
    table = Table.grid(padding=(0, 1))
    table.add_column()
    table.add_column(overflow="fold")
    for line in lines:
        spelled = line.translate(SPELLED_OUT) if ascii_only else line
        table.add_row("-" if ascii_only else "•", Text(spelled))
    return [Padding(table, (0, 0, 0, 1))]


def _radius_header(report: Report, name: str = "radius") -> Text | str:
    unit = text.radius_unit(report)
    return _header(name, unit) if unit else name


def _header(name: str, limit: str) -> Text:
    return Text.assemble(name, "\n", (limit, "not bold dim"))


def _compliance(figures: RadiusFigures, config: Mapping[str, Any]) -> Text:
    said = text.verdict(text.compliance(figures, config), figures)
    return Text(said, style=_style(said))


def _style(said: str) -> str:
    """The colour of a verdict; yellow where it is inconclusive."""
    return _STYLES.get(said, "yellow")


def _figure(
    mean: float | None,
    deviation: float | None,
    interval: Interval | None,
    spell: dict[int, str],
    style: str = "",
) -> Text:
    return _dim_below(text.figure(mean, deviation, interval).translate(spell), style)


def _dim_below(cell: str, style: str = "") -> Text:
    """A cell whose second line stands back."""
    first, _, second = cell.partition("\n")
    return Text.assemble((first, style), *([("\n" + second, "dim")] if second else []))
