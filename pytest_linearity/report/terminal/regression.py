"""A comparison with a baseline as a table for people."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from pytest_linearity.report.terminal.tables import ASCII_BOX, SPELLED_OUT, draw
from pytest_linearity.verdict import numbers
from pytest_linearity.verdict.regression.compare import RadiusRegression, Regression

_STYLES = {"regressed": "bold red", "no worse": "green", "not compared": "yellow"}


def render_comparison(
    regression: Regression,
    title: str,
    *,
    width: int = 80,
    color: bool = False,
    encoding: str = "utf-8",
) -> str:
    """The comparison as text for a terminal.

    Args:
        regression: What to show.
        title: What is compared with what; the first line.
        width: Columns of the terminal.
        color: Whether it shows colours.
        encoding: What its stream is encoded in; one that is not UTF gets ASCII.
    """
    ascii_only = not encoding.lower().startswith("utf")
    table = comparison_table(regression, ascii_only=ascii_only)
    parts = (
        Text(title, style="bold"),
        Text("mean relative error, paired by direction and prompt", style="dim"),
        table,
        _verdict(regression),
    )
    return draw(Group(*parts), width=width, color=color)


def comparison_table(regression: Regression, *, ascii_only: bool = False) -> Table:
    """One row per radius: both mean relative errors, the growth, and what it is beyond."""
    table = Table(
        box=ASCII_BOX if ascii_only else SIMPLE_HEAD,
        header_style="bold",
        padding=(0, 1),
        collapse_padding=True,
    )
    limit = f"≤ {_percent(regression.max_regression)}".translate(SPELLED_OUT if ascii_only else {})
    for name, note in (
        ("radius", ""),
        ("baseline", ""),
        ("now", ""),
        ("growth", limit),
        ("difference", "95% interval"),
    ):
        table.add_column(_header(name, note), justify="right", overflow="fold")
    table.add_column("verdict", overflow="fold")
    for entry in regression.radii:
        table.add_row(
            str(entry.radius),
            numbers.mean(entry.baseline),
            numbers.mean(entry.current),
            _growth(entry),
            _interval(entry),
            Text(entry.status, style=_STYLES.get(entry.status, "")),
        )
    return table


def _verdict(regression: Regression) -> Text:
    fell = regression.radius_fell
    by = f", {regression.basis}" if regression.basis else ""
    return Text.assemble(
        " ",
        ("linearity radius ", "bold"),
        (_radius(regression.linearity_radius), "bold red" if fell else "bold green"),
        (f"  baseline {_radius(regression.baseline_radius)}{by}", "dim"),
    )


def _header(name: str, note: str) -> Text:
    return Text.assemble(name, "\n", (note, "not bold dim")) if note else Text(name)


def _growth(entry: RadiusRegression) -> str:
    return "-" if entry.growth is None else f"{100 * entry.growth:+.3g}%"


def _interval(entry: RadiusRegression) -> str:
    if entry.interval is None:
        return "-"
    low, high = entry.interval
    return f"[{low:.2g}, {high:.2g}]"


def _percent(part: float) -> str:
    return f"{100 * part:.3g}%"


def _radius(radius: float | None) -> str:
    return "none" if radius is None else str(radius)
