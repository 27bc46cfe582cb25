"""A comparison with a baseline as a table for people."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pytest_linearity.report import text
from pytest_linearity.report.style import PLAIN, Style
from pytest_linearity.report.terminal.tables import draw, header, table
from pytest_linearity.verdict import numbers
from pytest_linearity.verdict.regression.compare import Regression

_STYLES = {"regressed": "bold red", "no worse": "green", "not compared": "yellow"}


def render_comparison(regression: Regression, title: str, style: Style = PLAIN) -> str:
    """The comparison as text for a terminal.

    Args:
        regression: What to show.
        title: What is compared with what; the first line.
        style: How it is shown.
    """
    parts = (
        Text(title, style="bold"),
        Text("mean relative error, paired by direction and prompt", style="dim"),
        _radii(regression, style),
        _verdict(regression),
    )
    return draw(Group(*parts), style)


def _radii(regression: Regression, style: Style) -> Table:
    """One row per radius: both mean relative errors, the growth, and what it is beyond."""
    shown = table(style)
    for name, note in (
        ("radius", ""),
        ("baseline", ""),
        ("now", ""),
        ("growth", style.spelled(f"≤ {100 * regression.max_regression:.3g}%")),
        ("difference", "95% interval"),
    ):
        title = header(name, note) if note else name
        shown.add_column(title, justify="right", overflow="fold")
    shown.add_column("verdict", overflow="fold")
    for entry in regression.radii:
        *cells, status = text.regression_cells(entry)
        shown.add_row(*cells, Text(status, style=_STYLES.get(status, "")))
    return shown


def _verdict(regression: Regression) -> Text:
    fell = regression.radius_fell
    by = f", {regression.basis}" if regression.basis else ""
    return Text.assemble(
        " ",
        ("linearity radius ", "bold"),
        (
            numbers.linearity_radius(regression.linearity_radius),
            "bold red" if fell else "bold green",
        ),
        (f"  baseline {numbers.linearity_radius(regression.baseline_radius)}{by}", "dim"),
    )
