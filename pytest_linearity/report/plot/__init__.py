"""Pictures of the figures, drawn by matplotlib; it is imported when one is drawn, not before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_linearity.report.plot.files import (
    inline_svg,
    require_matplotlib,
    require_plottable,
    save,
)

if TYPE_CHECKING:
    from pytest_linearity.report.document import Report
    from pytest_linearity.report.results import Measured

__all__ = [
    "drawn_report",
    "drawn_series",
    "plot_report",
    "plot_series",
    "require_matplotlib",
    "require_plottable",
]


def plot_report(report: Report, path: Path, *, title: str | None = None) -> None:
    """Draw both metrics over the radii: limits, spread, noise floor and linearity radius.

    Args:
        report: What to draw.
        path: The file; its suffix is one of ``.png``, ``.svg`` and ``.pdf``.
        title: The heading; the checkpoint's path when not given.

    Raises:
        ConfigError: If matplotlib is missing, or the suffix is another.
        LinearityError: If the file cannot be written.
    """
    require_plottable(path)
    from pytest_linearity.report.plot.radii import draw_report

    save(lambda palette: draw_report(report, palette, title=title), path)


def plot_series(series: Sequence[Measured], path: Path, *, title: str | None = None) -> None:
    """Draw the linearity radius and both metrics of several checkpoints over training steps.

    Where the steps are not known, or not distinct, checkpoints are drawn side by side.

    Args:
        series: The checkpoints, in the order in which they are drawn.
        path: The file; its suffix is one of ``.png``, ``.svg`` and ``.pdf``.
        title: The heading; the name of the first one's config when not given.

    Raises:
        ConfigError: If matplotlib is missing, or the suffix is another.
        LinearityError: If the file cannot be written.
    """
    require_plottable(path)
    from pytest_linearity.report.plot.series import draw_series

    save(lambda palette: draw_series(series, palette, title=title), path)


def drawn_report(report: Report, description: str, *, prefix: str) -> str:
    """What `plot_report` draws, as an ``<svg>`` element that takes on the colours of its page.

    Args:
        report: What to draw.
        description: What the drawing shows, for those who cannot see it.
        prefix: Put before the ids in it, which must be unique within a page.

    Raises:
        ConfigError: If matplotlib is missing.
    """
    require_matplotlib("HTML report")
    from pytest_linearity.report.plot.radii import draw_report

    return inline_svg(lambda palette: draw_report(report, palette, title=""), description, prefix)


def drawn_series(series: Sequence[Measured], description: str, *, prefix: str) -> str:
    """What `plot_series` draws, as an ``<svg>`` element that takes on the colours of its page.

    Args:
        series: The checkpoints, in the order in which they are drawn.
        description: What the drawing shows, for those who cannot see it.
        prefix: Put before the ids in it, which must be unique within a page.

    Raises:
        ConfigError: If matplotlib is missing.
    """
    require_matplotlib("HTML report")
    from pytest_linearity.report.plot.series import draw_series

    return inline_svg(lambda palette: draw_series(series, palette, title=""), description, prefix)
