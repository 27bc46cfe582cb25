"""What the axes of all pictures have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from pytest_linearity.report import text
from pytest_linearity.report.plot.palette import BAD
from pytest_linearity.verdict import numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pytest_linearity.verdict.document import Report


def spaced() -> ConstrainedLayoutEngine:
    """A layout with some room between its panels."""
    return ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08)


def log_range(values: Sequence[float]) -> tuple[float, float]:
    """Ends of a logarithmic axis that shows these values with some room; zeros have no place."""
    positive = [value for value in values if value > 0] or [1.0]
    low, high = math.log10(min(positive)), math.log10(max(positive))
    room = max(0.06 * (high - low), 0.5 * (0.6 - (high - low)), 0.15)
    return 10 ** (low - room), 10 ** (high + room)


def radius_axis(axes: Axes, radii: Sequence[float]) -> None:
    """A logarithmic axis with a tick at every tested radius, and as many names as there is room."""
    axes.set_xscale("log")
    axes.set_xlim(*log_range(radii))
    axes.set_xlabel("radius r")
    named = spaced_out(radii)
    axes.set_xticks(named, [numbers.tick(radius) for radius in named])
    axes.set_xticks([radius for radius in radii if radius not in named], minor=True)
    axes.tick_params("x", which="minor", labelbottom=False)


def radius_name(report: Report, *, of_each_scope: bool = False) -> str:
    """What an axis of a report's radii is called, with their unit.

    Args:
        report: Whose unit it is.
        of_each_scope: Whether several scopes share the axis, each with a norm of its own.
    """
    unit = report.config.get("radius_unit")
    if unit == "learning_rate":
        return "radius r, as a learning rate"
    if of_each_scope and unit in ("relative", "update"):
        return f"radius r of the scope's {'norm' if unit == 'relative' else unit}"
    return f"radius r {text.radius_unit(report)}".rstrip()


def ticks_beyond(radii: Sequence[float], others: Sequence[float]) -> list[float]:
    """Places with a name on an axis of radii that reaches as far as other lengths.

    Args:
        radii: The tested ones; as many of them as there is room for.
        others: What else the axis shows, above zero.

    Returns:
        With powers of ten where the axis goes beyond the radii.
    """
    low, high = log_range([*radii, *others])
    powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    beyond = [10.0**k for k in powers if not min(radii) <= 10.0**k <= max(radii)]
    return spaced_out([*radii, *beyond])


def spaced_out(radii: Sequence[float]) -> list[float]:
    """The radii, from the largest, that leave room between their names on a logarithmic axis."""
    span = math.log10(max(radii) / min(radii))
    chosen: list[float] = []
    for radius in sorted(radii, reverse=True):
        if not chosen or math.log10(chosen[-1] / radius) >= span / 8:
            chosen.append(radius)
    return chosen


def error_axis(axes: Axes, values: Sequence[float], limit: float | None) -> tuple[float, float]:
    """A logarithmic axis of errors, with what is above the limit marked.

    Args:
        axes: The panel.
        values: What must be seen on it.
        limit: The largest mean error that complies; None where there is no limit.

    Returns:
        The ends of the axis.
    """
    bottom, top = log_range([*values, *([] if limit is None else [limit])])
    axes.set_yscale("log")
    axes.set_ylim(bottom, top)
    subdivided = top / bottom < 300
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if subdivided else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    if limit is not None:
        _mark_forbidden(axes, limit, limit, top)
    return bottom, top


def cosine_axis(axes: Axes, values: Sequence[float], limit: float) -> None:
    """An axis of cosine similarities up to 1, with what is below the limit marked.

    Args:
        axes: The panel.
        values: What must be seen on it.
        limit: The smallest mean cosine similarity that complies.
    """
    least = max(min([*values, limit]), -1.0)
    room = 0.12 * max(1.0 - least, 1e-3)
    bottom = max(least - 2 * room, -1.1)
    axes.set_ylim(bottom, 1.0 + room)
    _mark_forbidden(axes, limit, bottom, limit)


def plain_axis(
    axes: Axes, values: Sequence[float], limit: float | None, *, larger_is_good: bool
) -> None:
    """An axis of any figures, with the wrong side of the limit marked.

    Args:
        axes: The panel.
        values: What must be seen on it.
        limit: What a mean must keep; None where there is no limit.
        larger_is_good: Whether what is below the limit is wrong, not what is above.
    """
    seen = [*values, *([] if limit is None else [limit])] or [0.0]
    room = 0.12 * (max(seen) - min(seen)) or 0.1
    bottom, top = min(seen) - room, max(seen) + room
    axes.set_ylim(bottom, top)
    if limit is not None:
        _mark_forbidden(axes, limit, *((bottom, limit) if larger_is_good else (limit, top)))


def _mark_forbidden(axes: Axes, limit: float, bottom: float, top: float) -> None:
    """The limit as a line, and the side of it where a mean does not comply, hatched."""
    if bottom < top:
        axes.axhspan(bottom, top, facecolor=BAD, alpha=0.07, linewidth=0, zorder=0)
        axes.axhspan(
            bottom, top, facecolor="none", edgecolor=BAD, alpha=0.22, hatch="///", linewidth=0
        )
    axes.axhline(limit, color=BAD, linewidth=1.3, linestyle="--", label="limit", zorder=2)


def shorten(text: str, length: int) -> str:
    """A path without its beginning, where it is too long: its end says more."""
    return text if len(text) <= length else "…" + text[1 - length :]
