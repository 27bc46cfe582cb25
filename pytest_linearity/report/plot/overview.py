"""What several directions have in one panel: ε along each kind and update, and over the rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pytest_linearity.report import text
from pytest_linearity.report.lengths import (
    in_radii,
    optimizer_kind,
    optimizer_rates,
    peak_rate,
    update_moved,
)
from pytest_linearity.report.plot.axes import (
    error_axis,
    log_range,
    radius_axis,
    radius_name,
    shorten,
    ticks_beyond,
)
from pytest_linearity.report.plot.palette import BAD, GOOD, Palette
from pytest_linearity.report.plot.strokes import stroke
from pytest_linearity.verdict import numbers
from pytest_linearity.verdict.kinds import by_kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pytest_linearity.verdict.document import Report

_Point = tuple[float, float]


def overviews(report: Report) -> list[Callable[[Axes, Palette], None]]:
    """What draws a panel of its own for all directions of a report; none for one kind of them.

    The relative error along all kinds and at the update, and the relative error along the
    optimizer's next step over the learning rate.
    """
    panels: list[Callable[[Axes, Palette], None]] = []
    if len(by_kind(report)) > 1 or update_moved(report):
        panels.append(partial(_draw_kinds, report))
    if optimizer_rates(report):
        panels.append(partial(_draw_rates, report))
    return panels


def _draw_kinds(report: Report, axes: Axes, palette: Palette) -> None:
    """A line for each kind, over the radii; the update's figures at its own length."""
    kinds = by_kind(report)
    short = [shorten(kind, 28) for kind in kinds]
    names = short if len(set(short)) == len(short) else list(kinds)
    lines = {
        f"along {name}": _errors(of_kind, {f.radius: f.radius for f in of_kind.radii})
        for name, of_kind in zip(names, kinds.values(), strict=True)
    }
    errors = [error for line in lines.values() for _, error in line]
    moved = update_moved(report)
    error = report.update.mean_relative_error if moved and report.update else None
    error_axis(axes, [*errors, *([error] if error else [])], report.limits.get("relative_error"))
    for number, (label, line) in enumerate(lines.items()):
        _draw_line(axes, line, label, palette, **stroke(number))
    _mark_failing(axes, list(kinds.values()), palette)
    radii = [figures.radius for figures in report.radii]
    radius_axis(axes, radii)
    axes.set_xlabel(radius_name(report))
    if moved is not None:
        ends = _draw_update(axes, report, moved, palette)
        _reach(axes, radii, [moved, *ends], numbers.tick)
    along = "along each kind of directions" if len(lines) > 1 else next(iter(lines))
    at = ", and at the update" if moved is not None else ""
    axes.set_title(f"ε {along}{at}", parse_math=False)


def _draw_update(axes: Axes, report: Report, moved: float, palette: Palette) -> Sequence[float]:
    """The update's point, and the band in which the limits are crossed along it; the band's ends.

    The band stands over the whole panel, as the limit that breaks first need not be that of ε.
    """
    figures = report.update
    assert figures is not None
    ends = [in_radii(report, figures.complying_length), in_radii(report, figures.failing_length)]
    low, high = ends
    if low is not None and high is not None:
        label = "limits crossed along the update"
        axes.axvspan(low, high, color=palette.ink, alpha=0.3, linewidth=0, label=label, zorder=1.5)
    drawn: dict[str, Any] = {
        "color": palette.ink,
        "zorder": 5,
        "linestyle": "none",
        "clip_on": False,
    }
    norm = f"update, norm {figures.norm:.3g}"
    if figures.mean_relative_error is None:
        drawn |= {"markerfacecolor": palette.paper, "markeredgewidth": 1.6}
        drawn |= {"transform": axes.get_xaxis_transform(), "label": f"{norm} (undefined)"}
        axes.plot([moved], [0.95], marker="D", **drawn)
    else:
        place = max(figures.mean_relative_error, axes.get_ylim()[0])
        says = "complies" if figures.complies else "does not comply"
        drawn |= {"markeredgecolor": palette.paper, "label": f"{norm} ({says})"}
        axes.plot([moved], [place], marker="*", markersize=15.0, **drawn)
    return [end for end in ends if end is not None]


def _draw_rates(report: Report, axes: Axes, palette: Palette) -> None:
    """The relative error along the optimizer's step, and the run's largest rate as a line."""
    kind, rates = str(optimizer_kind(report)), optimizer_rates(report)
    of_kind = by_kind(report)[kind]
    line = _errors(of_kind, rates)
    error_axis(axes, [error for _, error in line], of_kind.limits["relative_error"])
    _draw_line(axes, line, None, palette, color=GOOD, marker="o")
    _mark_failing(axes, [of_kind], palette, rates)
    used = peak_rate(report)
    if used is not None:
        label = f"largest learning rate of the run, {text.rate(used)}"
        axes.axvline(used, color=palette.ink, linewidth=1.4, linestyle="-.", label=label)
    radius_axis(axes, list(rates.values()))
    _reach(axes, list(rates.values()), [] if used is None else [used], text.rate)
    axes.set_xlabel("learning rate")
    axes.set_title(f"ε over the learning rate, along {kind}")


def _reach(
    axes: Axes, radii: Sequence[float], others: Sequence[float], named: Callable[[float], str]
) -> None:
    """Make an axis of radii show other lengths as well."""
    ticks = ticks_beyond(radii, others)
    axes.set_xticks(ticks, [named(tick) for tick in ticks])
    axes.set_xticks([radius for radius in radii if radius not in ticks], minor=True)
    axes.set_xlim(*log_range([*radii, *others]))


def _errors(report: Report, places: Mapping[float, float]) -> list[_Point]:
    """Place and mean of every radius whose mean has a place on a logarithmic axis."""
    return [
        (places[figures.radius], mean)
        for figures in report.radii
        for mean in [figures.mean_relative_error]
        if mean
    ]


def _draw_line(
    axes: Axes, line: Sequence[_Point], label: str | None, palette: Palette, **look: Any
) -> None:
    xs, ys = [x for x, _ in line], [y for _, y in line]
    edge = palette.paper
    axes.plot(xs, ys, label=label, markeredgecolor=edge, zorder=3, clip_on=False, **look)


def _mark_failing(
    axes: Axes,
    reports: Sequence[Report],
    palette: Palette,
    places: Mapping[float, float] | None = None,
) -> None:
    broken = [
        (places[figures.radius] if places else figures.radius, mean)
        for report in reports
        for figures in report.radii
        for mean in [figures.mean_relative_error]
        if mean and not figures.complies
    ]
    if broken:
        drawn: dict[str, Any] = {"color": BAD, "markersize": 9.0, "markeredgecolor": palette.paper}
        label = "does not comply"
        axes.plot(*zip(*broken, strict=True), "X", label=label, zorder=4, clip_on=False, **drawn)
