"""Relative error, cosine similarity and further metrics over the radii; the layer profile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from pytest_linearity.report.plot.axes import shorten, spaced
from pytest_linearity.report.plot.heat_map import draw_profile, draw_scale
from pytest_linearity.report.plot.palette import Palette
from pytest_linearity.report.plot.panels import draw_cosines, draw_errors, draw_metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pytest_linearity.verdict.document import Report


_LETTER = 0.075
"""Inches that a letter of the legend takes, about."""
_HANDLE = 8
"""Letters that would have room where an entry has its mark and the space around it."""


def draw_report(report: Report, palette: Palette, *, title: str | None = None) -> Figure:
    """The relative error (logarithmic), the cosine similarity and further metrics over the radii.

    Below them is the layer profile, where there is one.

    Args:
        report: What to draw.
        palette: The neutral colours.
        title: The heading; the checkpoint's path when not given, and none when empty.
    """
    further = list(report.radii[0].metrics)
    rows = 1 + (len(further) + 1) // 2
    figure, (errors, cosines, *others) = _panels(report, rows, palette)
    draw_errors(errors, report, palette)
    draw_cosines(cosines, report, palette)
    for name, axes in zip(further, others, strict=False):
        draw_metric(axes, report, name, palette)
    for unused in others[len(further) :]:
        unused.remove()
    if title != "":
        _headline(figure, report, title)
    legend(figure, (errors, cosines, *others[: len(further)]))
    return figure


def _panels(report: Report, rows: int, palette: Palette) -> tuple[Figure, list[Axes]]:
    """The figure with two empty panels in each row, and with the layer profile."""
    heights = [3.0] * rows
    if report.layers is not None:
        heights.append(1.4 + 0.3 * len(report.radii))
    figure = Figure(figsize=(9.6, 1.4 + sum(heights)), layout=spaced())
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
    panels = [figure.add_subplot(grid[row, column]) for row in range(rows) for column in (0, 1)]
    if report.layers is not None:
        below = figure.add_subplot(grid[rows, :])
        fields = draw_profile(below, report, report.layers, palette)
        draw_scale(below, fields, report.limits["relative_error"], palette)
    return figure, panels


def _headline(figure: Figure, report: Report, title: str | None) -> None:
    radius = report.linearity_radius
    found = "none of the tested radii complies" if radius is None else f"linearity radius {radius}"
    least = report.config.get("min_linearity_radius")
    asked = "" if least is None else f", {least} is required"
    verdict = "passes" if report.passed else "fails"
    name = shorten(title or str(report.checkpoint["path"]), 90)
    heading = figure.suptitle(f"{name}\n{verdict}: {found}{asked}", x=0.012, ha="left", fontsize=11)
    heading.set_parse_math(False)


def legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """One legend for all panels: what is in any of them, once."""
    entries: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower center",
        ncols=_columns(list(entries), figure.get_figwidth()),
        fontsize=8.5,
    )


def _columns(labels: Sequence[str], width: float) -> int:
    """As many columns as there is room for within so many inches; entries run down each."""
    for count in range(len(labels), 1, -1):
        least, more = divmod(len(labels), count)
        lengths = iter(map(len, labels))
        longest = [
            max(next(lengths) for _ in range(least + (column < more))) for column in range(count)
        ]
        if sum(length + _HANDLE for length in longest) * _LETTER <= width:
            return count
    return 1
