"""Several results as a table, one row each: verdict and figures side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pytest_linearity.numerics.metrics.registry import ALWAYS
from pytest_linearity.report.explanation import series_line
from pytest_linearity.report.results import Result, along, mean_at, of_kinds, radii_of
from pytest_linearity.report.style import Style
from pytest_linearity.report.terminal.tables import draw, table
from pytest_linearity.verdict import numbers
from pytest_linearity.verdict.kinds import worst_kinds

COLUMN = 8
"""Width of a column of figures, with the space around it."""
_VERDICT = 2 + 2 + 11 + 8
"""Width of the edges and of linearity radius and verdict."""


@dataclass(frozen=True)
class FirstColumns:
    """What a table begins with: what tells its results apart."""

    columns: Callable[[Table], None]
    """Adds the first columns to a table."""
    cells: Callable[[Result], Sequence[str]]
    """What stands in them for a result."""
    width: int
    """Their width."""


def render_results(
    heading: str, results: Sequence[Result], rows: FirstColumns, style: Style
) -> str:
    """Tables of one row per result, as text for a terminal.

    After what tells the results apart come linearity radius and verdict, then both means at as many
    radii as there is room for. Of several kinds of directions every one has a table of its own,
    after one of linearity radii and verdicts, which are those of the worst.

    Args:
        heading: What the table is of; the first line.
        results: One for each row.
        rows: What each row begins with.
        style: How it is shown.
    """
    kinds = of_kinds(results)
    tables = [
        _rendered(along(heading, kind), of_kind, rows, style, radii=radii_of(of_kind))
        for kind, of_kind in kinds.items()
    ]
    if len(kinds) > 1:
        tables.insert(0, _rendered(heading, results, rows, style, radii=[]))
    return "\n".join(tables)


def _rendered(
    heading: str,
    results: Sequence[Result],
    rows: FirstColumns,
    style: Style,
    *,
    radii: Sequence[float],
) -> str:
    shown = table(style)
    rows.columns(shown)
    room = max(style.width - rows.width - _VERDICT, 2 * COLUMN) // (2 * COLUMN)
    shown.add_column("linearity\nradius", justify="right")
    shown.add_column("passes")
    for metric in ("error", "cosine") if style.ascii_only else ("ε", "c"):
        for radius in radii[-room:]:
            shown.add_column(f"{metric}\nr={numbers.tick(radius)}", justify="right")
    for result in results:
        shown.add_row(*rows.cells(result), *_verdict(result), *_figures(result, radii[-room:]))
    notes = _notes(results, radii, room) if radii else []
    return draw(Group(Text(heading, style="bold"), shown, *notes), style)


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
    radius, worst = result.report.linearity_radius, worst_kinds(result.report)
    of = f" along {' and '.join(worst)}" if worst else ""
    if radius is None:
        return f"none{of}"
    return (str(radius) if len(str(radius)) < COLUMN else numbers.tick(radius)) + of


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
