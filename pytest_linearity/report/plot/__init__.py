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
    from pytest_linearity.report.results import Result
    from pytest_linearity.verdict.document import Report

__all__ = [
    "drawn_report",
    "drawn_scopes",
    "drawn_series",
    "plot_beside",
    "plot_report",
    "plot_scopes",
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


def plot_series(series: Sequence[Result], path: Path, *, title: str | None = None) -> None:
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


def plot_scopes(scopes: Sequence[Result], path: Path, *, title: str | None = None) -> None:
    """Draw both metrics of several scopes of one checkpoint over the radii, a line for each.

    Args:
        scopes: The scopes, in the order in which they are drawn.
        path: The file; its suffix is one of ``.png``, ``.svg`` and ``.pdf``.
        title: The heading; config and checkpoint when not given.

    Raises:
        ConfigError: If matplotlib is missing, or the suffix is another.
        LinearityError: If the file cannot be written.
    """
    require_plottable(path)
    from pytest_linearity.report.plot.scopes import draw_scopes

    save(lambda palette: draw_scopes(scopes, palette, title=title), path)


def plot_beside(
    results: Sequence[Result],
    path: Path,
    *,
    title: str | None = None,
    rows: Sequence[str] | None = None,
) -> None:
    """Draw checkpoints side by side, on the same scales: both metrics and the layer profiles.

    Args:
        results: The checkpoints, from left to right.
        path: The file; its suffix is one of ``.png``, ``.svg`` and ``.pdf``.
        title: The heading; none when not given.
        rows: Which of ``relative_error``, ``cosine_similarity`` and ``layers``; all when not given.

    Raises:
        ConfigError: If matplotlib is missing, or the suffix is another.
        LinearityError: If the file cannot be written.
    """
    require_plottable(path)
    from pytest_linearity.report.plot.beside import ROWS, draw_beside

    save(lambda palette: draw_beside(results, palette, title=title, rows=rows or ROWS), path)


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


def drawn_series(series: Sequence[Result], description: str, *, prefix: str) -> str:
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


def drawn_scopes(scopes: Sequence[Result], description: str, *, prefix: str) -> str:
    """What `plot_scopes` draws, as an ``<svg>`` element that takes on the colours of its page.

    Args:
        scopes: The scopes, in the order in which they are drawn.
        description: What the drawing shows, for those who cannot see it.
        prefix: Put before the ids in it, which must be unique within a page.

    Raises:
        ConfigError: If matplotlib is missing.
    """
    require_matplotlib("HTML report")
    from pytest_linearity.report.plot.scopes import draw_scopes

    return inline_svg(lambda palette: draw_scopes(scopes, palette, title=""), description, prefix)
