"""A comparison with a baseline as a table for people."""

from __future__ import annotations

from rich.console import Group, RenderableType
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
    parts: list[RenderableType] = [
        Text(title, style="bold"),
        Text("mean relative error, paired by direction and prompt", style="dim"),
        _radii(regression, style),
        *_verdicts(regression),
        *(Text(f" {style.spelled(note)}", style="dim") for note in regression.notes),
    ]
    return draw(Group(*parts), style)


def _radii(regression: Regression, style: Style) -> Table:
    """One row per radius: both mean relative errors, the growth, and what it is beyond.

    Where there are several kinds of directions, each has a row.
    """
    shown = table(style)
    for name, note in (
        ("radius", ""),
        *[("along", "")] * bool(regression.by_kind),
        ("baseline", ""),
        ("now", ""),
        ("growth", style.spelled(f"≤ {100 * regression.max_regression:.3g}%")),
        ("difference", "95% interval"),
    ):
        title = header(name, note) if note else name
        shown.add_column(title, justify="left" if name == "along" else "right", overflow="fold")
    shown.add_column("verdict", overflow="fold")
    for entry in regression.entries:
        *cells, status = text.regression_cells(entry)
        shown.add_row(*cells, Text(status, style=_STYLES.get(status, "")))
    return shown


def _verdicts(regression: Regression) -> list[Text]:
    """The linearity radius, along each kind of directions where there are several."""
    kinds = regression.by_kind or {"": regression}
    return [_verdict(one, f" along {kind}" if kind else "") for kind, one in kinds.items()]


def _verdict(regression: Regression, along: str) -> Text:
    fell = regression.radius_fell
    by = f", {regression.basis}" if regression.basis else ""
    return Text.assemble(
        " ",
        ("linearity radius ", "bold"),
        (
            numbers.linearity_radius(regression.linearity_radius) + along,
            "bold red" if fell else "bold green",
        ),
        (f"  baseline {numbers.linearity_radius(regression.baseline_radius)}{by}", "dim"),
    )
