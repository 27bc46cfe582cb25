"""Several scopes of one checkpoint as a table: what each holds, and its figures side by side."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pytest_linearity.report import text
from pytest_linearity.report.results import Result, radii_of, title
from pytest_linearity.report.terminal.series import (
    COLUMN,
    add_figure_columns,
    figure_cells,
    notes,
    verdict_cells,
)
from pytest_linearity.report.terminal.tables import ASCII_BOX, draw

_PARAMETERS = 12
"""Width of a number of parameters, with the space around it."""


def render_scopes(
    scopes: Sequence[Result], *, width: int = 80, color: bool = False, encoding: str = "utf-8"
) -> str:
    """The scopes as text for a terminal.

    Args:
        scopes: The scopes of one checkpoint, in the order of the config.
        width: Columns of the terminal.
        color: Whether it shows colours.
        encoding: What its stream is encoded in; one that is not UTF gets ASCII.
    """
    ascii_only = not encoding.lower().startswith("utf")
    radii = radii_of(scopes)
    room = max(width - _fixed_width(scopes), 2 * COLUMN) // (2 * COLUMN)
    parts: list[RenderableType] = [
        Text(heading(scopes), style="bold"),
        scopes_table(scopes, radii[-room:], ascii_only=ascii_only),
        *notes(scopes, radii, room),
    ]
    return draw(Group(*parts), width=width, color=color)


def scopes_table(
    scopes: Sequence[Result], radii: Sequence[float], *, ascii_only: bool = False
) -> Table:
    """One row per scope: parameters, linearity radius, verdict, and both means at each radius.

    Args:
        scopes: The scopes of one checkpoint.
        radii: The radii that get columns.
        ascii_only: Whether letters and lines must be ASCII.
    """
    table = Table(
        box=ASCII_BOX if ascii_only else SIMPLE_HEAD,
        header_style="bold",
        padding=(0, 1),
        collapse_padding=True,
    )
    table.add_column("scope", overflow="fold")
    table.add_column("parameters", justify="right")
    table.add_column("of all", justify="right")
    table.add_column("linearity\nradius", justify="right")
    table.add_column("passes")
    add_figure_columns(table, radii, ascii_only=ascii_only)
    for result in scopes:
        number, share = text.scope_size(result.report)
        cells = figure_cells(result, radii)
        table.add_row(scope_name(result), number, share, *verdict_cells(result), *cells)
    return table


def heading(scopes: Sequence[Result]) -> str:
    """What the table is of."""
    return f"{title(scopes[0].name, scopes[0].label)}: {len(scopes)} scopes"


def scope_name(result: Result) -> str:
    """The scope as the config has it; a label may lack signs of a regular expression."""
    name: str = result.report.config.get("param_scope") or result.short
    return name


def _fixed_width(scopes: Sequence[Result]) -> int:
    """Columns taken before those of the figures."""
    names = max(len(scope_name(result)) for result in scopes)
    return 2 + max(names, 5) + 2 + _PARAMETERS + COLUMN + 11 + 8
