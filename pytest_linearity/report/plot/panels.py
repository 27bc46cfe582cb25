"""The panels over the radii: relative error, cosine similarity, further metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_linearity.numerics.metrics.registry import ALWAYS, COSINE_SIMILARITY, RELATIVE_ERROR
from pytest_linearity.report import text
from pytest_linearity.report.plot.axes import (
    cosine_axis,
    error_axis,
    plain_axis,
    radius_axis,
    radius_name,
)
from pytest_linearity.report.plot.crossing import draw_crossing
from pytest_linearity.report.plot.palette import BAD, GOOD, Palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pytest_linearity.verdict.confidence import Interval
    from pytest_linearity.verdict.document import Report

_ERROR, _COSINE = RELATIVE_ERROR.name, COSINE_SIMILARITY.name


@dataclass(frozen=True)
class _Point:
    """One radius in one panel."""

    radius: float
    mean: float | None
    deviation: float
    complies: bool
    interval: Interval | None = None
    inconclusive: bool = False

    @property
    def ends(self) -> tuple[float, ...]:
        """Mean and both ends of spread and interval; none where the mean is not defined."""
        if self.mean is None:
            return ()
        spread = self.mean - self.deviation, self.mean, self.mean + self.deviation
        return (*spread, *(self.interval or ()))


def draw_errors(axes: Axes, report: Report, palette: Palette, among: Sequence[Report] = ()) -> None:
    """The relative error, logarithmic: limit, spread, noise floor, what κ predicts.

    Args:
        axes: The panel.
        report: What to draw.
        palette: The neutral colours.
        among: The reports whose panels stand beside it on the same scale.
    """
    bottom, _ = error_axis(axes, _ends(among or (report,), _ERROR), report.limits[_ERROR])
    axes.set_title(text.always_heading(report, _ERROR))
    floors = [(f.radius, f.noise_floor) for f in report.radii if f.noise_floor]
    if floors:
        hidden = max(floor for _, floor in floors) < bottom
        label = "noise floor (below the axis)" if hidden else "noise floor"
        axes.plot(*zip(*floors, strict=True), ":", color=palette.muted, label=label)
    _draw_points(axes, _points(report, _ERROR), palette, lowest=bottom, undefined_at=0.95)
    draw_crossing(axes, report, palette)
    _over_radii(axes, report, palette)


def draw_cosines(
    axes: Axes, report: Report, palette: Palette, among: Sequence[Report] = ()
) -> None:
    """The cosine similarity: limit, spread.

    Args:
        axes: The panel.
        report: What to draw.
        palette: The neutral colours.
        among: The reports whose panels stand beside it on the same scale.
    """
    cosine_axis(axes, _ends(among or (report,), _COSINE), report.limits[_COSINE])
    axes.set_title(text.always_heading(report, _COSINE))
    points = _points(report, _COSINE)
    _draw_points(axes, points, palette, lowest=-1.0, highest=1.0, undefined_at=0.05)
    _over_radii(axes, report, palette)


def draw_metric(axes: Axes, report: Report, name: str, palette: Palette) -> None:
    """A further metric; logarithmic, where it is an error that is nowhere zero."""
    first = report.radii[0].figures[name]
    points = _points(report, name)
    means = [point.mean for point in points if point.mean is not None]
    lowest = -math.inf
    if first.good == "smaller" and means and min(means) > 0:
        limit = first.limit if (first.limit or 0) > 0 else None
        lowest, _ = error_axis(axes, _above_zero(points), limit)
    else:
        ends = [end for point in points for end in point.ends]
        plain_axis(axes, ends, first.limit, larger_is_good=first.good == "larger")
    axes.set_title(text.metric_heading(first), parse_math=False)
    undefined_at = 0.95 if first.good == "smaller" else 0.05
    _draw_points(axes, points, palette, lowest=lowest, undefined_at=undefined_at)
    _over_radii(axes, report, palette)


def _over_radii(axes: Axes, report: Report, palette: Palette) -> None:
    radius_axis(axes, [figures.radius for figures in report.radii])
    _mark_linearity_radius(axes, report, palette)
    axes.set_xlabel(radius_name(report))


def _points(report: Report, name: str) -> list[_Point]:
    """A metric over the radii; ε and c carry the mark of the radius, others that of their own."""
    return [
        _Point(
            radius.radius,
            metric.mean,
            metric.std or 0.0,
            radius.complies if name in ALWAYS else metric.complies,
            metric.interval,
            radius.inconclusive,
        )
        for radius in report.radii
        for metric in [radius.figures[name]]
    ]


def _ends(reports: Sequence[Report], name: str) -> list[float]:
    """What the axis of ε or c must show of some reports."""
    seen = []
    for report in reports:
        points = _points(report, name)
        seen += _above_zero(points) if name == _ERROR else [e for p in points for e in p.ends]
    return seen


def _above_zero(points: Sequence[_Point]) -> list[float]:
    """What a logarithmic axis must show; a spread that reaches zero would take it along."""
    return [end for p in points for end in p.ends if p.mean is not None and end > 0.05 * p.mean]


def _draw_points(
    axes: Axes,
    points: Sequence[_Point],
    palette: Palette,
    *,
    lowest: float,
    highest: float = float("inf"),
    undefined_at: float,
) -> None:
    """The means and their spread, cut where the scale ends; failing and undefined ones marked."""
    defined = [(p, p.mean) for p in points if p.mean is not None]
    radii = [p.radius for p, _ in defined]
    means = [max(mean, lowest) for _, mean in defined]
    below = [max(mean - p.deviation, lowest) for p, mean in defined]
    above = [min(mean + p.deviation, highest) for p, mean in defined]
    if defined:
        spread = "± standard deviation"
        axes.fill_between(radii, below, above, color=GOOD, alpha=0.16, linewidth=0, label=spread)
        axes.vlines(radii, below, above, color=GOOD, alpha=0.55, linewidth=1.1)
        axes.plot(radii, means, color=GOOD, zorder=3)
    _draw_intervals(axes, points, lowest, highest)
    marks = [(p, (p.radius, max(mean, lowest))) for p, mean in defined]
    kept = [mark for p, mark in marks if p.complies]
    broken = [mark for p, mark in marks if not p.complies]
    for marker, colour, size, label, chosen in (
        ("o", GOOD, 7.0, "complies", kept),
        ("X", BAD, 9.0, "does not comply", broken),
    ):
        if chosen:
            axes.plot(
                *zip(*chosen, strict=True),
                marker,
                color=colour,
                markersize=size,
                markeredgecolor=palette.paper,
                label=label,
                zorder=4,
                clip_on=False,
            )
    doubtful = [mark for p, mark in marks if p.inconclusive]
    if doubtful:
        axes.plot(
            *zip(*doubtful, strict=True),
            "o",
            markersize=14,
            markerfacecolor="none",
            markeredgecolor=palette.ink,
            markeredgewidth=1.2,
            label="inconclusive",
            zorder=4,
            clip_on=False,
        )
    missing = [p.radius for p in points if p.mean is None]
    if missing:
        axes.plot(
            missing,
            [undefined_at] * len(missing),
            "D",
            color=BAD,
            markerfacecolor=palette.paper,
            markeredgewidth=1.6,
            transform=axes.get_xaxis_transform(),
            label="undefined",
            zorder=4,
        )


def _draw_intervals(axes: Axes, points: Sequence[_Point], lowest: float, highest: float) -> None:
    """Where the means over all directions lie, as error bars, cut where the scale ends."""
    intervals = [(p.radius, *p.interval) for p in points if p.interval is not None]
    for radius, low, high in intervals:
        ends = max(low, lowest), min(high, highest)
        label = "interval of the mean" if radius == intervals[0][0] else None
        axes.plot(
            (radius, radius), ends, "-_", color=GOOD, linewidth=2.4, markersize=9, label=label
        )


def _mark_linearity_radius(axes: Axes, report: Report, palette: Palette) -> None:
    radius = report.linearity_radius
    if radius is None:
        return
    axes.axvline(radius, color=palette.muted, linewidth=1.0, dashes=(5, 3), zorder=1)
    axes.annotate(
        "linearity radius",
        (radius, 1.0),
        xycoords=axes.get_xaxis_transform(),
        xytext=(0, 2),
        textcoords="offset points",
        ha="center",
        va="bottom",
        color=palette.muted,
        fontsize=8,
    )
