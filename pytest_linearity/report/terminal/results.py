"""Several results as a table, one row each: verdict and figures side by side."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pytest_linearity.numerics.metrics.registry import ALWAYS
from pytest_linearity.report.explanation import series_line
from pytest_linearity.report.results import Result, mean_at, radii_of
from pytest_linearity.report.style import Style
from pytest_linearity.report.terminal.tables import draw
from pytest_linearity.verdict import numbers

COLUMN = 8
"""Width of a column of figures, with the space around it."""
_VERDICT = 2 + 2 + 11 + 8
"""Width of the edges and of linearity radius and verdict."""


def render_results(
    heading: str,
    results: Sequence[Result],
    shown: Table,
    names: Sequence[Sequence[str]],
    taken: int,
    style: Style,
) -> str:
    """A table that begins with what tells the results apart, as text for a terminal.

    Linearity radius and verdict follow, then both means at as many radii as there is room for.

    Args:
        heading: What the table is of; the first line.
        results: One for each row.
        shown: The table, with its first columns.
        names: The cells of these columns for each row.
        taken: The width of these columns.
        style: How it is shown.
    """
    radii = radii_of(results)
    room = max(style.width - taken - _VERDICT, 2 * COLUMN) // (2 * COLUMN)
    shown.add_column("linearity\nradius", justify="right")
    shown.add_column("passes")
    for metric in ("error", "cosine") if style.ascii_only else ("ε", "c"):
        for radius in radii[-room:]:
            shown.add_column(f"{metric}\nr={numbers.tick(radius)}", justify="right")
    for cells, result in zip(names, results, strict=True):
        shown.add_row(*cells, *_verdict(result), *_figures(result, radii[-room:]))
    return draw(Group(Text(heading, style="bold"), shown, *_notes(results, radii, room)), style)


def _figures(result: Result, radii: Sequence[float]) -> list[str]:
    """Both means at each radius."""
    return [numbers.mean(mean_at(result, radius, metric)) for metric in ALWAYS for radius in radii]


def _verdict(result: Result) -> list[Text]:
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


def _notes(results: Sequence[Result], radii: Sequence[float], room: int) -> list[Text]:
    """Lines below the table: radii that there is no room for, and verdicts in doubt."""
    lines = []
    if len(radii) > room:
        lines.append(
            Text(f"radii below {numbers.tick(radii[-room])} are in the reports", style="dim")
        )
    if doubts := series_line(results):
        lines.append(Text(doubts, style="yellow"))
    return lines
