"""The layer profile: relative error after every block at every radius."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from pytest_linearity.report import text
from pytest_linearity.report.plot.axes import shorten
from pytest_linearity.report.plot.palette import Palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

    from pytest_linearity.report.document import Report
    from pytest_linearity.report.profile_figures import ProfileFigures

_COLOURS = "cividis"
"""Looks alike to all who see colours differently, and is in order of lightness in print."""
_SPELLED = 14
"""Blocks up to which every field has its number written in."""
_NAMED = 28
"""Blocks up to which every one is numbered at the axis."""


def draw_profile(axes: Axes, report: Report, layers: ProfileFigures, palette: Palette) -> None:
    """A field for every block, left to right, and radius, upwards; logarithmic in colour.

    Args:
        axes: The panel.
        report: What the profile is of.
        layers: The profile.
        palette: The neutral colours.
    """
    radii = [figures.radius for figures in report.radii]
    rows = [_colourable(layers.radii[str(radius)].relative_error) for radius in radii]
    blocks = len(layers.names)
    norm = _norm([value for row in rows for value in row if value > 0])
    _hatch_undefined(axes, palette)
    edges = [place - 0.5 for place in range(1, blocks + 2)]
    heights = [place - 0.5 for place in range(len(radii) + 1)]
    fields = axes.pcolormesh(edges, heights, rows, cmap=_COLOURS, norm=norm)
    fields.set(edgecolor=palette.paper if blocks <= _NAMED else "face", linewidth=0.6)
    if blocks <= _SPELLED:
        _spell(axes, rows, norm, fields.get_cmap())
    axes.set_yticks(range(len(radii)), [text.tick(radius) for radius in radii])
    unit = text.radius_unit(report)
    axes.set_ylabel(f"radius r {unit}".rstrip())
    every = -(-blocks // _NAMED)
    axes.set_xticks(range(1, blocks + 1, every))
    first, last = (shorten(layers.names[place], 30) for place in (0, -1))
    axes.set_xlabel(f"block (1 is {first}, {blocks} is {last})").set_parse_math(False)
    axes.set_title("relative error ε of the last token's hidden state after every block")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    _scale(axes, fields)


def _colourable(row: list[float | None]) -> list[float]:
    """The numbers of a row; what is not one has no colour."""
    return [math.nan if value is None else value for value in row]


def _norm(values: list[float]) -> LogNorm:
    low, high = (min(values), max(values)) if values else (0.1, 1.0)
    # An axis of less than a factor of two would make much of nothing.
    return LogNorm(max(min(low, high / 2), high * 1e-6), high, clip=True)


def _hatch_undefined(axes: Axes, palette: Palette) -> None:
    """What shows where no colour covers it."""
    axes.patch.set(facecolor="none", edgecolor=palette.muted, hatch="///", linewidth=0)


def _spell(axes: Axes, rows: list[list[float]], norm: LogNorm, colours: Colormap) -> None:
    for y, row in enumerate(rows):
        for x, value in enumerate(row, start=1):
            if math.isnan(value):
                continue
            red, green, blue, _ = colours(norm(value)) if value > 0 else colours(0.0)
            light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
            axes.text(
                x,
                y,
                f"{value:.2g}",
                ha="center",
                va="center",
                fontsize=8,
                color="#101418" if light else "#ffffff",
            )


def _scale(axes: Axes, fields: object) -> None:
    figure = axes.figure
    bar = figure.colorbar(fields, ax=axes, pad=0.015, aspect=12)  # type: ignore[arg-type]
    # A bitmap is no part of a page that loads nothing; seams between its fields are closed.
    assert bar.solids is not None
    bar.solids.set(rasterized=False, edgecolor="face")
    bar.outline.set_visible(False)
    low, high = fields.norm.vmin, fields.norm.vmax  # type: ignore[attr-defined]
    few = high / low < 100
    bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    bar.ax.yaxis.set_minor_locator(NullLocator())
