"""Several checkpoints of one config as a table: linearity radius and figures over the steps."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pytest_linearity.report.explanation import series_line
from pytest_linearity.report.results import (
    Result,
    figure_at,
    mean_cosine,
    mean_error,
    radii_of,
    title,
)
from pytest_linearity.report.terminal.tables import ASCII_BOX, draw
from pytest_linearity.verdict import numbers

COLUMN = 8
"""Width of a column of figures, with the space around it."""


def render_series(
    series: Sequence[Result], *, width: int = 80, color: bool = False, encoding: str = "utf-8"
) -> str:
    """The series as text for a terminal.

    Args:
        series: The checkpoints of one config, in the order of their training steps.
        width: Columns of the terminal.
        color: Whether it shows colours.
        encoding: What its stream is encoded in; one that is not UTF gets ASCII.
    """
    ascii_only = not encoding.lower().startswith("utf")
    radii = radii_of(series)
    room = max(width - _fixed_width(series), 2 * COLUMN) // (2 * COLUMN)
    table = series_table(series, radii[-room:], ascii_only=ascii_only)
    parts: list[RenderableType] = [
        Text(heading(series), style="bold"),
        table,
        *notes(series, radii, room),
    ]
    return draw(Group(*parts), width=width, color=color)


def series_table(
    series: Sequence[Result], radii: Sequence[float], *, ascii_only: bool = False
) -> Table:
    """One row per checkpoint: linearity radius, verdict, and both means at each radius.

    Args:
        series: The checkpoints of one config.
        radii: The radii that get columns.
        ascii_only: Whether letters and lines must be ASCII.
    """
    table = Table(
        box=ASCII_BOX if ascii_only else SIMPLE_HEAD,
        header_style="bold",
        padding=(0, 1),
        collapse_padding=True,
    )
    if _steps_say_more(series):
        table.add_column("step", justify="right")
    table.add_column("checkpoint", overflow="fold")
    table.add_column("linearity\nradius", justify="right")
    table.add_column("passes")
    add_figure_columns(table, radii, ascii_only=ascii_only)
    for result in series:
        step = [str("" if result.step is None else result.step)] if _steps_say_more(series) else []
        name = result.label or result.short
        table.add_row(*step, name, *verdict_cells(result), *figure_cells(result, radii))
    return table


def heading(series: Sequence[Result]) -> str:
    """What the table is of."""
    return f"{title(series[0].name, None, series[0].scope)}: {len(series)} checkpoints"


def notes(results: Sequence[Result], radii: Sequence[float], room: int) -> list[Text]:
    """Lines below such a table: radii that there is no room for, and verdicts in doubt."""
    lines = []
    if len(radii) > room:
        lines.append(
            Text(f"radii below {numbers.tick(radii[-room])} are in the reports", style="dim")
        )
    if doubts := series_line(results):
        lines.append(Text(doubts, style="yellow"))
    return lines


def add_figure_columns(table: Table, radii: Sequence[float], *, ascii_only: bool) -> None:
    """Columns of both means at each radius."""
    error, cosine = ("error", "cosine") if ascii_only else ("ε", "c")
    for metric in (error, cosine):
        for radius in radii:
            table.add_column(f"{metric}\nr={numbers.tick(radius)}", justify="right")


def figure_cells(result: Result, radii: Sequence[float]) -> list[str]:
    """Those means."""
    return [
        numbers.mean(figure_at(result, radius, metric))
        for metric in (mean_error, mean_cosine)
        for radius in radii
    ]


def verdict_cells(result: Result) -> list[Text]:
    """Linearity radius, and whether it passes."""
    style = "green" if result.passed else "bold red"
    return [
        Text(_radius(result), style=style),
        Text("yes" if result.passed else "no", style=style),
    ]


def _radius(result: Result) -> str:
    radius = result.report.linearity_radius
    if radius is None:
        return "none"
    return str(radius) if len(str(radius)) < COLUMN else numbers.tick(radius)


def _steps_say_more(series: Sequence[Result]) -> bool:
    """Whether steps are known that the names of the checkpoints do not end with."""
    names = [result.label or result.short for result in series]
    steps = [result.step for result in series]
    return any(s is not None and not n.endswith(str(s)) for s, n in zip(steps, names, strict=True))


def _fixed_width(series: Sequence[Result]) -> int:
    """Columns taken before those of the figures."""
    names = max(len(result.label or result.short) for result in series)
    edges = 2
    return edges + COLUMN * _steps_say_more(series) + max(names, 10) + 2 + 11 + 8
