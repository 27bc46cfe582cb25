"""Several checkpoints of one config, over their training steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pytest_linearity.numerics.metrics.registry import COSINE_SIMILARITY, RELATIVE_ERROR
from pytest_linearity.report import text
from pytest_linearity.report.lengths import step_length, update_length
from pytest_linearity.report.plot.axes import (
    cosine_axis,
    error_axis,
    log_range,
    shorten,
    spaced,
    spaced_out,
    ticks_beyond,
)
from pytest_linearity.report.plot.palette import BAD, GOOD, RAMP, REFINED, Palette
from pytest_linearity.report.results import along, mean_at, of_kinds, over_steps, radii_of
from pytest_linearity.verdict import numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

    from pytest_linearity.report.results import Result

_MARKERS = "os^Dvphd<>"
_LENGTHS: Mapping[str, Mapping[str, Any]] = {
    "step of the optimizer": {"marker": "s", "linestyle": "--", "color": REFINED, "zorder": 1.9},
    "norm of the update": {"marker": "^", "linestyle": ":", "color": RAMP[1], "zorder": 1.9},
}
"""How lengths of steps are drawn that stand with the linearity radius."""
_NAMED = 14
"""Checkpoints whose names fit side by side."""


def draw_series(series: Sequence[Result], palette: Palette, *, title: str | None = None) -> Figure:
    """The linearity radius above, and below it both metrics with a line for each radius.

    With the linearity radius stand, where they are known, the length of the optimizer's next step
    at the rate of the run and the norm of the update from the base. Of several kinds of directions
    each has all three.

    Args:
        series: The checkpoints, in the order in which they are drawn.
        palette: The neutral colours.
        title: The heading; the name of the first one's config when not given, none when empty.
    """
    kinds = of_kinds(series)
    figure = Figure(figsize=(9.6, 7.6 * len(kinds)), layout=spaced())
    parts = figure.subfigures(len(kinds), 1, squeeze=False)
    # What is known of the optimizer and the base is lost where a report is taken apart by kind.
    reports = {result.title: result.report for result in series}
    for (part,), (kind, of_kind) in zip(parts.tolist(), kinds.items(), strict=True):
        whole = [reports[result.title] for result in of_kind]
        lengths = {
            "step of the optimizer": [step_length(report) for report in whole],
            "norm of the update": [update_length(report) for report in whole],
        }
        _draw_kind(part, of_kind, kind, lengths, palette)
    if title != "":
        name = shorten(title or series[0].name, 90)
        about = shorten(", ".join(text.circumstances(series[0].report)), 110)
        heading = figure.suptitle(f"{name}\n{about}", x=0.012, ha="left", fontsize=11)
        heading.set_parse_math(False)
    return figure


def _draw_kind(
    part: SubFigure,
    series: Sequence[Result],
    kind: str,
    lengths: Mapping[str, Sequence[float | None]],
    palette: Palette,
) -> None:
    """The three panels, along one kind of directions."""
    above, errors, cosines = part.subplots(3, 1, sharex=True, height_ratios=(1, 1.25, 1.25))
    places = _places(series)
    _draw_linearity_radius(above, series, places, palette)
    several = _draw_lengths(above, lengths, places, radii_of(series), palette)
    heading = along("linearity radius", shorten(kind, 40))
    above.set_title(heading + ", and the lengths of steps" * several, parse_math=False)
    _explain(above)
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
    axes: Axes, series: Sequence[Result], places: Sequence[float], palette: Palette
) -> None:
    radii = radii_of(series)
    bottom, top = log_range(radii)
    axes.set_yscale("log")
    axes.set_ylim(bottom, top)
    named = spaced_out(radii)
    axes.set_yticks(named, [numbers.tick(radius) for radius in named])
    axes.set_yticks([], minor=True)
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


def _draw_lengths(
    axes: Axes,
    lengths: Mapping[str, Sequence[float | None]],
    places: Sequence[float],
    radii: Sequence[float],
    palette: Palette,
) -> bool:
    """Lengths of steps in the unit of the radii, beside the linearity radius; whether any is."""
    drawn = {
        label: [math.nan if length is None else length for length in line]
        for label, line in lengths.items()
        if any(length is not None for length in line)
    }
    if not drawn:
        return False
    for label, line in drawn.items():
        edge, look = palette.paper, _LENGTHS[label]
        axes.plot(places, line, label=label, markeredgecolor=edge, clip_on=False, **look)
    seen = [length for line in drawn.values() for length in line if not math.isnan(length)]
    axes.set_ylim(*log_range([*radii, *seen]))
    named = ticks_beyond(radii, seen)
    axes.set_yticks(named, [numbers.tick(radius) for radius in named])
    return True


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
