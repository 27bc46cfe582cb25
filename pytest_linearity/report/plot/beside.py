"""Checkpoints side by side, a column for each, on the same scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from pytest_linearity.report import text
from pytest_linearity.report.plot.axes import shorten, spaced
from pytest_linearity.report.plot.heat_map import draw_profile, draw_scale
from pytest_linearity.report.plot.palette import BAD, GOOD, Palette
from pytest_linearity.report.plot.panels import draw_cosines, draw_errors
from pytest_linearity.report.plot.radii import legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pytest_linearity.report.results import Result

ROWS = ("relative_error", "cosine_similarity", "layers")
"""What can be drawn of each checkpoint, from top to bottom."""
_WIDTH = 4.8
"""Inches of a column."""


def draw_beside(
    results: Sequence[Result],
    palette: Palette,
    *,
    title: str | None = None,
    rows: Sequence[str] = ROWS,
) -> Figure:
    """The same panels for every checkpoint, so that what differs is seen.

    Args:
        results: The checkpoints, from left to right.
        palette: The neutral colours.
        title: The heading; none when not given or empty.
        rows: Which of `ROWS`; layer profiles are left out where no checkpoint has one.
    """
    profiles = [r.report.layers for r in results if r.report.layers is not None]
    shown = [row for row in ROWS if row in rows and (row != "layers" or profiles)]
    most = max(len(result.report.radii) for result in results)
    heights = [1.2 + 0.28 * most if row == "layers" else 3.0 for row in shown]
    around = 0.6 if shown == ["layers"] else 1.3  # heading, and the legend of curves
    size = (max(_WIDTH * len(results), 2 * _WIDTH), around + sum(heights))
    figure = Figure(figsize=size, layout=spaced())
    grid = figure.subplots(len(shown), len(results), squeeze=False, height_ratios=heights)
    reports = [result.report for result in results]
    for row, panels in zip(shown, grid.tolist(), strict=True):
        if row == "layers":
            _draw_profiles(results, panels, palette)
            continue
        draw = draw_errors if row == "relative_error" else draw_cosines
        for axes, report in zip(panels, reports, strict=True):
            draw(axes, report, palette, reports)
    for axes, result in zip(grid[0].tolist(), results, strict=True):
        _head(axes, result, above=24 if shown[0] == "layers" else 38)
    curves = [
        axes for row, panels in zip(shown, grid, strict=True) if row != "layers" for axes in panels
    ]
    if curves:
        legend(figure, curves)
    if title:
        name = shorten(title, 90)
        figure.suptitle(name, x=0.012, ha="left", fontsize=11).set_parse_math(False)
    return figure


def _draw_profiles(results: Sequence[Result], panels: Sequence[Axes], palette: Palette) -> None:
    """The heat maps, with one scale of colours for all of them."""
    profiles = [r.report.layers for r in results if r.report.layers is not None]
    fields = None
    for axes, result in zip(panels, results, strict=True):
        if result.report.layers is None:
            axes.axis("off")
            axes.text(0.5, 0.5, "no layer profile", ha="center", va="center", color=palette.muted)
            continue
        fields = draw_profile(axes, result.report, result.report.layers, palette, profiles)
        axes.set_title("ε of the last hidden state after every block", pad=8)
    if fields is not None:
        limit = results[0].report.limits["relative_error"]
        draw_scale(panels, fields, limit, palette)


def _head(axes: Axes, result: Result, *, above: float) -> None:
    """Name and verdict over a column, so many points above its first panel."""
    report = result.report
    verdict = "passes" if report.passed else "fails"
    name, radius = shorten(result.short, 24), text.linearity_radius(report)
    heading = axes.annotate(
        f"{name}: {verdict}, linearity radius {radius}",
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, above),
        textcoords="offset points",
        fontsize=11.5,
        color=GOOD if report.passed else BAD,
        annotation_clip=False,
    )
    heading.set_parse_math(False)
