"""Where the relative error crosses its limit: as curvature predicts it, and as bisection found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.transforms import ScaledTranslation

from pytest_linearity.report.plot.palette import REFINED, Palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pytest_linearity.verdict.document import Report

_HALF = 4.2 / 72
"""Inches from the middle of a mark to its tip, which touches the limit."""


def draw_crossing(axes: Axes, report: Report, palette: Palette) -> None:
    """The line ε = rκ/2, and on the limit both crossings that lie between the tested radii.

    The refined radius is not always one of the relative error alone: where another limit breaks
    first it is that one's, so its mark stands on the limit and not on the curve.

    Args:
        axes: The panel of the relative error, with its axis set.
        report: What second order and refinement say; nothing is drawn where they say nothing.
        palette: The neutral colours.
    """
    radii = [figures.radius for figures in report.radii]
    if report.second_order is not None:
        predicted = report.second_order.predicted
        line = [(r, error) for r in sorted(radii) if (error := predicted[str(r)].relative_error)]
        if line:
            axes.plot(
                *zip(*line, strict=True),
                color=palette.ink,
                linestyle=(0, (3, 2)),
                linewidth=1.2,
                label="rκ/2, predicted by curvature",
                zorder=3.2,
            )
        crossing = report.second_order.predicted_crossing_radius
        _mark(axes, report, crossing, palette, "^", palette.ink, "crossing predicted by curvature")
    if report.refined is not None:
        measured = (report.refined.linearity_radius * report.refined.first_failing) ** 0.5
        _mark(axes, report, measured, palette, "v", REFINED, "crossing measured (refined)")


def _mark(
    axes: Axes,
    report: Report,
    radius: float | None,
    palette: Palette,
    marker: str,
    colour: str,
    label: str,
) -> None:
    """A triangle whose tip touches the limit: from below what is predicted, from above measured."""
    limit = report.limits["relative_error"]
    radii = [figures.radius for figures in report.radii]
    if radius is None or limit <= 0 or not min(radii) <= radius <= max(radii):
        return
    inches = axes.figure.dpi_scale_trans
    aside = ScaledTranslation(0, _HALF if marker == "v" else -_HALF, inches)
    axes.plot(
        [radius],
        [limit],
        marker,
        color=colour,
        markersize=8.0,
        markeredgecolor=palette.paper,
        transform=axes.transData + aside,
        label=label,
        zorder=5,
    )
