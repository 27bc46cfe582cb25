"""Checkpoints side by side, a column for each, on the same scales."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from pytest_linearity.report import text
from pytest_linearity.report.plot.axes import shorten, spaced
from pytest_linearity.report.plot.heat_map import draw_profile, draw_scale
from pytest_linearity.report.plot.palette import BAD, GOOD, Palette
from pytest_linearity.report.plot.panels import draw_cosines, draw_errors
from pytest_linearity.report.plot.radii import legend
from pytest_linearity.report.results import of_kinds

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

    Of several kinds of directions each has a column for every checkpoint.

    Args:
        results: The checkpoints, from left to right.
        palette: The neutral colours.
        title: The heading; none when not given or empty.
        rows: Which of `ROWS`; layer profiles are left out where no checkpoint has one.
    """
    kinds = of_kinds(results)
    named = [kind for kind, of_kind in kinds.items() for _ in of_kind]
    results = [result for of_kind in kinds.values() for result in of_kind]
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
    for axes, result, kind in zip(grid[0].tolist(), results, named, strict=True):
        _head(axes, result, palette, above=24 if shown[0] == "layers" else 38, kind=kind)
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
        limits = {result.report.limits["relative_error"] for result in results}
        limit = limits.pop() if len(limits) == 1 else nan  # one scale has one line at most
        draw_scale(panels, fields, limit, palette)


def _head(axes: Axes, result: Result, palette: Palette, *, above: float, kind: str) -> None:
    """Over a column, so many points above its first panel: name and verdict, scope and so on."""
    report = result.report
    verdict = "passes" if report.passed else "fails"
    name, radius = shorten(result.short, 24), text.linearity_radius(report)
    along = [f"along {text.kind_heading(report, kind)}"] if kind else []
    for line in [", ".join(text.scope_and_template(report)), *along]:
        _line(axes, shorten(line, 60), palette.muted, 8.5, above)
        above += 13
    color = GOOD if report.passed else BAD
    _line(axes, f"{name}: {verdict}, linearity radius {radius}", color, 11.5, above + 2)


def _line(axes: Axes, said: str, color: str, size: float, above: float) -> None:
    heading = axes.annotate(
        said,
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, above),
        textcoords="offset points",
        fontsize=size,
        color=color,
        annotation_clip=False,
    )
    heading.set_parse_math(False)
