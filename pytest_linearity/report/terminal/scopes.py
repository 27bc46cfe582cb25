"""Several scopes of one checkpoint as a table: what each holds, and its figures side by side."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from pytest_linearity.report import text
from pytest_linearity.report.results import Result, scopes_heading
from pytest_linearity.report.style import PLAIN, Style
from pytest_linearity.report.terminal.results import COLUMN, FirstColumns, render_results

_PARAMETERS = 12
"""Width of a number of parameters, with the space around it."""


def render_scopes(scopes: Sequence[Result], style: Style = PLAIN) -> str:
    """The scopes as text for a terminal: one row per scope, with the parameters it holds.

    Args:
        scopes: The scopes of one checkpoint, in the order of the config.
        style: How it is shown.
    """

    def columns(shown: Table) -> None:
        shown.add_column("scope", overflow="fold")
        shown.add_column("parameters", justify="right")
        shown.add_column("of all", justify="right")

    def cells(result: Result) -> tuple[str, ...]:
        return result.scope_name, *text.scope_size(result.report)

    longest = max(len(result.scope_name) for result in scopes)
    rows = FirstColumns(columns, cells, max(5, longest) + _PARAMETERS + COLUMN)
    return render_results(scopes_heading(scopes), scopes, rows, style)
