"""The layer profile: relative error after every block at every radius."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from pytest_linearity.report.plot.axes import radius_name, shorten
from pytest_linearity.report.plot.palette import BAD, Palette
from pytest_linearity.verdict import numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.colors import Colormap

    from pytest_linearity.verdict.diagnosis_figures import ProfileFigures
    from pytest_linearity.verdict.document import Report

_COLOURS = "cividis"
"""Looks alike to all who see colours differently, and is in order of lightness in print."""
_SPELLED = 14
"""Blocks up to which every field has its number written in."""
_NAMED = 28
"""Blocks up to which every one is numbered at the axis."""


def draw_profile(
    axes: Axes,
    report: Report,
    layers: ProfileFigures,
    palette: Palette,
    among: Sequence[ProfileFigures] = (),
) -> QuadMesh:
    """A field for every block, left to right, and radius, upwards; logarithmic in colour.

    Args:
        axes: The panel.
        report: What the profile is of.
        layers: The profile.
        palette: The neutral colours.
        among: The profiles whose panels stand beside it with the same scale of colours.

    Returns:
        The fields, for `draw_scale`.
    """
    radii = [figures.radius for figures in report.radii]
    rows = [_colourable(layers.radii[str(radius)].relative_error) for radius in radii]
    blocks = len(layers.names)
    norm = _norm([value for profile in among or (layers,) for value in _positive(profile)])
    _hatch_undefined(axes, palette)
    edges = [place - 0.5 for place in range(1, blocks + 2)]
    heights = [place - 0.5 for place in range(len(radii) + 1)]
    fields = axes.pcolormesh(edges, heights, rows, cmap=_COLOURS, norm=norm)
    fields.set(edgecolor=palette.paper if blocks <= _NAMED else "face", linewidth=0.6)
    if blocks <= _SPELLED:
        _spell(axes, rows, norm, fields.get_cmap())
    axes.set_yticks(range(len(radii)), [numbers.tick(radius) for radius in radii])
    axes.set_ylabel(radius_name(report))
    every = -(-blocks // _NAMED)
    axes.set_xticks(range(1, blocks + 1, every))
    first, last = (shorten(layers.names[place], 30) for place in (0, -1))
    axes.set_xlabel(f"block (1 is {first}, {blocks} is {last})").set_parse_math(False)
    axes.set_title("relative error ε of the last token's hidden state after every block", pad=8)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    return fields


def _positive(layers: ProfileFigures) -> list[float]:
    values = [value for means in layers.radii.values() for value in means.relative_error]
    return [value for value in values if value is not None and value > 0]


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
                f"{value:#.2g}".rstrip("."),
                ha="center",
                va="center",
                fontsize=8,
                color="#101418" if light else "#ffffff",
            )


def draw_scale(
    axes: Axes | Sequence[Axes], fields: QuadMesh, limit: float, palette: Palette
) -> None:
    """The colours of the fields with their errors, to the right, and the limit as a line.

    Args:
        axes: The panel, or the panels that share the scale.
        fields: What `draw_profile` has returned for one of them.
        limit: The largest mean relative error of the logits that complies.
        palette: The neutral colours.
    """
    assert fields.axes is not None
    bar = fields.axes.figure.colorbar(fields, ax=axes, pad=0.015, aspect=12)
    # A bitmap is no part of a page that loads nothing; seams between its fields are closed.
    assert bar.solids is not None
    bar.solids.set(rasterized=False, edgecolor="face")
    bar.outline.set_visible(False)
    bar.ax.set_ylabel("relative error ε")
    low, high = fields.get_clim()
    assert low is not None
    assert high is not None
    if low <= limit <= high:
        bar.ax.axhline(limit, color=palette.paper, linewidth=3.4)
        bar.ax.axhline(limit, color=BAD, linewidth=1.6, linestyle="--", label="limit")
    few = high / low < 100
    bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    bar.ax.yaxis.set_minor_locator(NullLocator())
