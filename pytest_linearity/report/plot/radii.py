"""Relative error, cosine similarity and further metrics over the radii; the layer profile."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from pytest_linearity.report import text
from pytest_linearity.report.plot.axes import (
    cosine_axis,
    error_axis,
    plain_axis,
    radius_axis,
    shorten,
    spaced,
)
from pytest_linearity.report.plot.heat_map import draw_profile
from pytest_linearity.report.plot.palette import BAD, GOOD, RAMP, Palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pytest_linearity.report.document import Report
    from pytest_linearity.report.kind_figures import KindFigures

    KindFigure = Callable[[KindFigures], float | None]

_STYLES = ("--", "-.", ":")
"""How the lines of kinds of directions are told apart besides their colours."""


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
    _draw_errors(errors, report, palette)
    _draw_cosines(cosines, report, palette)
    for name, axes in zip(further, others, strict=False):
        _draw_metric(axes, report, name, palette)
    for unused in others[len(further) :]:
        unused.remove()
    panels = (errors, cosines, *others[: len(further)])
    for axes in panels:
        radius_axis(axes, [figures.radius for figures in report.radii])
        _mark_linearity_radius(axes, report, palette)
        if unit := text.radius_unit(report):
            axes.set_xlabel(f"radius r {unit}")
    _draw_kinds(errors, report, _kind_error)
    _draw_kinds(cosines, report, _kind_cosine)
    if title != "":
        _headline(figure, report, title)
    _legend(figure, panels)
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
        draw_profile(figure.add_subplot(grid[rows, :]), report, report.layers, palette)
    return figure, panels


@dataclass(frozen=True)
class _Point:
    """One radius in one panel."""

    radius: float
    mean: float | None
    deviation: float
    complies: bool

    @property
    def ends(self) -> tuple[float, ...]:
        """Mean and both ends of the spread; none where the mean is not defined."""
        if self.mean is None:
            return ()
        return self.mean - self.deviation, self.mean, self.mean + self.deviation


def _draw_errors(axes: Axes, report: Report, palette: Palette) -> None:
    limit = report.config["relerr_threshold"]
    points = [
        _Point(f.radius, f.mean_relative_error, f.std_relative_error or 0.0, f.complies)
        for f in report.radii
    ]
    # A spread that reaches zero would take a logarithmic axis with it.
    ends = [end for p in points for end in p.ends if p.mean is not None and end > 0.05 * p.mean]
    bottom, _ = error_axis(axes, [*ends, *_kind_means(report, _kind_error)], limit)
    axes.set_title(f"relative error ε ≤ {text.limit(limit)}")
    floors = [(f.radius, f.noise_floor) for f in report.radii if f.noise_floor]
    if floors:
        hidden = max(floor for _, floor in floors) < bottom
        label = "noise floor (below the axis)" if hidden else "noise floor"
        axes.plot(*zip(*floors, strict=True), ":", color=palette.muted, label=label)
    _draw_points(axes, points, palette, lowest=bottom, undefined_at=0.95)


def _draw_cosines(axes: Axes, report: Report, palette: Palette) -> None:
    limit = report.config["cos_threshold"]
    points = [
        _Point(f.radius, f.mean_cosine_similarity, f.std_cosine_similarity or 0.0, f.complies)
        for f in report.radii
    ]
    ends = [end for point in points for end in point.ends]
    cosine_axis(axes, [*ends, *_kind_means(report, _kind_cosine)], limit)
    axes.set_title(f"cosine similarity c ≥ {text.limit(limit)}")
    _draw_points(axes, points, palette, lowest=-1.0, highest=1.0, undefined_at=0.05)


def _draw_metric(axes: Axes, report: Report, name: str, palette: Palette) -> None:
    """A further metric; logarithmic, where it is an error that is nowhere zero."""
    first = report.radii[0].metrics[name]
    found = [(f.radius, f.metrics[name]) for f in report.radii]
    points = [_Point(r, m.mean, m.std or 0.0, m.complies) for r, m in found]
    means = [point.mean for point in points if point.mean is not None]
    ends = [end for point in points for end in point.ends]
    lowest = -math.inf
    if first.good == "smaller" and means and min(means) > 0:
        above_zero = [e for p in points for e in p.ends if p.mean is not None and e > 0.05 * p.mean]
        lowest, _ = error_axis(axes, above_zero, first.limit if (first.limit or 0) > 0 else None)
    else:
        plain_axis(axes, ends, first.limit, larger_is_good=first.good == "larger")
    axes.set_title(text.metric_heading(first), parse_math=False)
    undefined_at = 0.95 if first.good == "smaller" else 0.05
    _draw_points(axes, points, palette, lowest=lowest, undefined_at=undefined_at)


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
    kept = [(r, m) for r, m, (p, _) in zip(radii, means, defined, strict=True) if p.complies]
    broken = [(r, m) for r, m, (p, _) in zip(radii, means, defined, strict=True) if not p.complies]
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


def _kind_error(found: KindFigures) -> float | None:
    return found.mean_relative_error


def _kind_cosine(found: KindFigures) -> float | None:
    return found.mean_cosine_similarity


def _kind_means(report: Report, figure: KindFigure) -> list[float]:
    means = [figure(found) for f in report.radii for found in f.by_kind.values()]
    return [mean for mean in means if mean is not None]


def _draw_kinds(axes: Axes, report: Report, figure: KindFigure) -> None:
    """The mean of each kind of directions by itself, where there are several."""
    for place, kind in enumerate(report.radii[0].by_kind):
        means = [(f.radius, figure(f.by_kind[kind])) for f in report.radii]
        defined = [(radius, mean) for radius, mean in means if mean is not None]
        axes.plot(
            [radius for radius, _ in defined],
            [mean for _, mean in defined],
            color=RAMP[(place + 1) % len(RAMP)],
            linestyle=_STYLES[place % len(_STYLES)],
            linewidth=1.2,
            marker=".",
            markersize=4,
            label=shorten(kind, 30),
            zorder=3.5,
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


def _headline(figure: Figure, report: Report, title: str | None) -> None:
    radius = report.linearity_radius
    found = "none of the tested radii complies" if radius is None else f"linearity radius {radius}"
    least = report.config.get("min_linearity_radius")
    asked = "" if least is None else f", {least} is required"
    verdict = "passes" if report.passed else "fails"
    name = shorten(title or str(report.checkpoint["path"]), 90)
    heading = figure.suptitle(f"{name}\n{verdict}: {found}{asked}", x=0.012, ha="left", fontsize=11)
    heading.set_parse_math(False)


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """One legend for all panels: what is in any of them, once."""
    entries: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(
        list(entries.values()), list(entries), loc="outside lower center", ncols=7, fontsize=8.5
    )
