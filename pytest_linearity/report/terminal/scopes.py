"""Several scopes of one checkpoint as a table: what each holds, and its figures side by side."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_linearity.report import text
from pytest_linearity.report.results import Result, scopes_heading
from pytest_linearity.report.style import PLAIN, Style
from pytest_linearity.report.terminal.results import COLUMN, render_results
from pytest_linearity.report.terminal.tables import table

_PARAMETERS = 12
"""Width of a number of parameters, with the space around it."""


def render_scopes(scopes: Sequence[Result], style: Style = PLAIN) -> str:
    """The scopes as text for a terminal: one row per scope, with the parameters it holds.

    Args:
        scopes: The scopes of one checkpoint, in the order of the config.
        style: How it is shown.
    """
    names = [(result.scope_name, *text.scope_size(result.report)) for result in scopes]
    shown = table(style)
    shown.add_column("scope", overflow="fold")
    shown.add_column("parameters", justify="right")
    shown.add_column("of all", justify="right")
    taken = max(5, *(len(name) for name, *_ in names)) + _PARAMETERS + COLUMN
    return render_results(scopes_heading(scopes), scopes, shown, names, taken, style)
