"""Relative error, cosine similarity and further metrics over the radii; the layer profile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from pytest_linearity.report import text
from pytest_linearity.report.plot.axes import shorten, spaced
from pytest_linearity.report.plot.heat_map import draw_profile, draw_scale
from pytest_linearity.report.plot.overview import overviews
from pytest_linearity.report.plot.palette import BAD, GOOD, Palette
from pytest_linearity.report.plot.panels import draw_cosines, draw_errors, draw_metric
from pytest_linearity.verdict.kinds import by_kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

    from pytest_linearity.verdict.document import Report


_OVERVIEW = 3.0
"""Inches of the panels on top."""
_LETTER = 0.075
"""Inches that a letter of the legend takes, about."""
_HANDLE = 8
"""Letters that would have room where an entry has its mark and the space around it."""


def draw_report(report: Report, palette: Palette, *, title: str | None = None) -> Figure:
    """The relative error (logarithmic), the cosine similarity and further metrics over the radii.

    Below them is the layer profile, where there is one. Of several kinds of directions each has all
    of these, one below the other. On top is what they have in one panel, see `overviews`.

    Args:
        report: What to draw.
        palette: The neutral colours.
        title: The heading; the checkpoint's path when not given, and none when empty.
    """
    kinds, together = by_kind(report), overviews(report)
    heights = [_OVERVIEW] * bool(together) + [
        sum(_heights(of_kind)) + (0.5 if len(kinds) > 1 else 0) for of_kind in kinds.values()
    ]
    figure = Figure(figsize=(9.6, 1.6 + sum(heights)), layout=spaced())
    panels: list[Axes] = []
    parts = [
        row[0]
        for row in figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights).tolist()
    ]
    if together:
        beside = parts.pop(0).subplots(1, len(together), squeeze=False)
        panels += beside.flat
        for axes, draw in zip(beside.flat, together, strict=True):
            draw(axes, palette)
    for part, (kind, of_kind) in zip(parts, kinds.items(), strict=True):
        panels += _draw_kind(part, of_kind, palette)
        if len(kinds) > 1:
            _name_kind(part, of_kind, kind)
    if title != "":
        _headline(figure, report, title)
    legend(figure, panels)
    return figure


def _draw_kind(part: SubFigure, report: Report, palette: Palette) -> list[Axes]:
    """The panels of one kind of directions, those of curves."""
    further = list(report.radii[0].metrics)
    heights = _heights(report)
    rows = 1 + (len(further) + 1) // 2
    grid = part.add_gridspec(len(heights), 2, height_ratios=heights)
    panels = [part.add_subplot(grid[row, column]) for row in range(rows) for column in (0, 1)]
    if report.layers is not None:
        below = part.add_subplot(grid[rows, :])
        fields = draw_profile(below, report, report.layers, palette)
        draw_scale(below, fields, report.limits["relative_error"], palette)
    errors, cosines, *others = panels
    draw_errors(errors, report, palette)
    draw_cosines(cosines, report, palette)
    for name, axes in zip(further, others, strict=False):
        draw_metric(axes, report, name, palette)
    for unused in others[len(further) :]:
        unused.remove()
    return panels[: 2 + len(further)]


def _heights(report: Report) -> list[float]:
    """Of each row of panels, in inches."""
    heights = [3.0] * (1 + (len(report.radii[0].metrics) + 1) // 2)
    return heights if report.layers is None else [*heights, 1.4 + 0.3 * len(report.radii)]


def _name_kind(part: SubFigure, report: Report, kind: str) -> None:
    verdict = "passes" if report.passed else "fails"
    heading = part.suptitle(
        f"along {shorten(text.kind_heading(report, kind), 60)}: {verdict}, "
        f"linearity radius {text.linearity_radius(report)}",
        x=0.012,
        ha="left",
        fontsize=11,
        color=GOOD if report.passed else BAD,
    )
    heading.set_parse_math(False)


def _headline(figure: Figure, report: Report, title: str | None) -> None:
    radius = text.linearity_radius(report)
    none = "none of the tested radii complies"
    found = none if radius == "none" else f"linearity radius {radius}"
    required = text.required(report)
    verdict = "passes" if report.passed else "fails"
    name = shorten(title or str(report.checkpoint["path"]), 90)
    about = shorten(", ".join(text.circumstances(report)), 110)
    asked = f", {required}" if required else ""
    heading = figure.suptitle(
        f"{name}\n{about}\n{verdict}: {found}{asked}", x=0.012, ha="left", fontsize=11
    )
    heading.set_parse_math(False)


def legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """One legend for all panels: what is in any of them, once."""
    entries: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    drawn = figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower center",
        ncols=_columns(list(entries), figure.get_figwidth()),
        fontsize=8.5,
    )
    for entry in drawn.get_texts():
        entry.set_parse_math(False)  # a kind of directions may be a path


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
