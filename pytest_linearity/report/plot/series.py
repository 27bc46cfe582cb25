"""Several checkpoints of one config, over their training steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pytest_linearity.numerics.metrics.registry import COSINE_SIMILARITY, RELATIVE_ERROR
from pytest_linearity.report import text
from pytest_linearity.report.plot.axes import (
    cosine_axis,
    error_axis,
    log_range,
    shorten,
    spaced,
    spaced_out,
)
from pytest_linearity.report.plot.palette import BAD, GOOD, RAMP, Palette
from pytest_linearity.report.results import along, mean_at, of_kinds, over_steps, radii_of
from pytest_linearity.verdict import numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

    from pytest_linearity.report.results import Result

_MARKERS = "os^Dvphd<>"
_NAMED = 14
"""Checkpoints whose names fit side by side."""


def draw_series(series: Sequence[Result], palette: Palette, *, title: str | None = None) -> Figure:
    """The linearity radius above, and below it both metrics with a line for each radius.

    Of several kinds of directions each has all three.

    Args:
        series: The checkpoints, in the order in which they are drawn.
        palette: The neutral colours.
        title: The heading; the name of the first one's config when not given, none when empty.
    """
    kinds = of_kinds(series)
    figure = Figure(figsize=(9.6, 7.6 * len(kinds)), layout=spaced())
    parts = figure.subfigures(len(kinds), 1, squeeze=False)
    for (part,), (kind, of_kind) in zip(parts.tolist(), kinds.items(), strict=True):
        _draw_kind(part, of_kind, kind, palette)
    if title != "":
        name = shorten(title or series[0].name, 90)
        about = shorten(", ".join(text.circumstances(series[0].report)), 110)
        heading = figure.suptitle(f"{name}\n{about}", x=0.012, ha="left", fontsize=11)
        heading.set_parse_math(False)
    return figure


def _draw_kind(part: SubFigure, series: Sequence[Result], kind: str, palette: Palette) -> None:
    """The three panels, along one kind of directions."""
    above, errors, cosines = part.subplots(3, 1, sharex=True, height_ratios=(1, 1.25, 1.25))
    places = _places(series)
    _draw_linearity_radius(above, series, places, palette, kind)
    first = series[0].report
    for axes, name, set_axis in (
        (errors, RELATIVE_ERROR.name, error_axis),
        (cosines, COSINE_SIMILARITY.name, cosine_axis),
    ):
        set_axis(axes, _draw_metric(axes, series, places, palette, name), first.limits[name])
        axes.set_title(
            along(f"mean {text.always_heading(first, name)}", shorten(kind, 40)), parse_math=False
        )
    _explain(errors)
    _step_axis(cosines, series, places)


def _places(series: Sequence[Result]) -> list[float]:
    if over_steps(series):
        return [float(result.step or 0) for result in series]
    return [float(place) for place in range(len(series))]


def _draw_linearity_radius(
    axes: Axes, series: Sequence[Result], places: Sequence[float], palette: Palette, kind: str
) -> None:
    radii = radii_of(series)
    bottom, top = log_range(radii)
    axes.set_yscale("log")
    axes.set_ylim(bottom, top)
    named = spaced_out(radii)
    axes.set_yticks(named, [numbers.tick(radius) for radius in named])
    axes.set_yticks([], minor=True)
    axes.set_title(along("linearity radius", shorten(kind, 40)), parse_math=False)
    reached = [result.report.linearity_radius for result in series]
    line = [float("nan") if radius is None else radius for radius in reached]
    axes.plot(places, line, color=palette.muted, drawstyle="default", linewidth=1.2)
    for marker, colour, size, passed in (("o", GOOD, 7.0, True), ("X", BAD, 9.0, False)):
        chosen = [
            (place, radius)
            for place, radius, result in zip(places, reached, series, strict=True)
            if radius is not None and result.report.passed is passed
        ]
        if chosen:
            label = "passes" if passed else "fails"
            drawn: dict[str, Any] = {
                "color": colour,
                "markersize": size,
                "markeredgecolor": palette.paper,
            }
            axes.plot(*zip(*chosen, strict=True), marker, label=label, clip_on=False, **drawn)
    none = [place for place, radius in zip(places, reached, strict=True) if radius is None]
    if none:
        axes.plot(
            none,
            [0.06] * len(none),
            "D",
            color=BAD,
            markerfacecolor=palette.paper,
            markeredgewidth=1.6,
            transform=axes.get_xaxis_transform(),
            label="none complies",
            clip_on=False,
        )
    _explain(axes)


def _explain(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.05), fontsize=8.5)


def _draw_metric(
    axes: Axes,
    series: Sequence[Result],
    places: Sequence[float],
    palette: Palette,
    metric: str,
) -> list[float]:
    """One line per radius, in which a figure that is not defined leaves a gap; all its values."""
    radii = radii_of(series)
    drawn: list[float] = []
    ramp = LinearSegmentedColormap.from_list("radii", RAMP)
    for number, radius in reversed(list(enumerate(radii))):
        means = [mean_at(result, radius, metric) for result in series]
        values = [math.nan if value is None else value for value in means]
        drawn += [value for value in means if value is not None]
        axes.plot(
            places,
            values,
            marker=_MARKERS[number % len(_MARKERS)],
            color=ramp(number / max(len(radii) - 1, 1)),
            markeredgecolor=palette.paper,
            label=f"r = {numbers.tick(radius)}",
        )
    return drawn


def _step_axis(axes: Axes, series: Sequence[Result], places: Sequence[float]) -> None:
    if over_steps(series):
        axes.set_xlabel("training step")
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        return
    every = -(-len(series) // _NAMED)
    named = list(zip(places, series, strict=True))[::every]
    names = [shorten(result.short, 24) for _, result in named]
    axes.set_xticks([place for place, _ in named], names)
    crowded = max(map(len, names)) * len(names) > 80
    for name in axes.get_xticklabels():
        name.set_parse_math(False)
        if crowded:
            name.set(rotation=30, ha="right")
