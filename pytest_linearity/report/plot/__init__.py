"""Pictures of the figures, drawn by matplotlib; it is imported when one is drawn, not before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_linearity.report.plot.files import Drawing, require_matplotlib, require_plottable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pytest_linearity.report.plot.palette import Palette
    from pytest_linearity.report.results import Result
    from pytest_linearity.verdict.document import Report

__all__ = [
    "Drawing",
    "beside_drawing",
    "plot_beside",
    "plot_report",
    "report_drawing",
    "require_matplotlib",
    "require_plottable",
    "scopes_drawing",
    "series_drawing",
]


def plot_report(report: Report, path: Path, *, title: str | None = None) -> None:
    """Save `report_drawing` as a file, see `Drawing.save`."""
    report_drawing(report, title).save(path)


def plot_beside(
    results: Sequence[Result],
    path: Path,
    *,
    title: str | None = None,
    rows: Sequence[str] | None = None,
) -> None:
    """Save `beside_drawing` as a file, see `Drawing.save`.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from pytest_linearity import Result, analyze, load_config
        >>> few = ["num_directions=2", "max_samples=2"]
        >>> report = analyze(load_config("examples/arithmetic/linearity.yaml", few))
        >>> with TemporaryDirectory() as folder:
        ...     picture = Path(folder) / "beside.svg"
        ...     plot_beside([Result("arithmetic", None, None, report)], picture)
        ...     picture.exists()
        True
    """
    beside_drawing(results, title, rows).save(path)


def report_drawing(report: Report, title: str | None = None) -> Drawing:
    """Both metrics over the radii: limits, spread, noise floor and linearity radius.

    Args:
        report: What to draw.
        title: The heading; the checkpoint's path when not given, none when empty.
    """

    def draw(palette: Palette) -> Figure:
        from pytest_linearity.report.plot.radii import draw_report

        return draw_report(report, palette, title=title)

    return Drawing(draw)


def series_drawing(series: Sequence[Result], title: str | None = None) -> Drawing:
    """The linearity radius and both metrics of several checkpoints over training steps.

    Where the steps are not known, or not distinct, checkpoints are drawn side by side.

    Args:
        series: The checkpoints, in the order in which they are drawn.
        title: The heading; the name of the first one's config when not given, none when empty.
    """

    def draw(palette: Palette) -> Figure:
        from pytest_linearity.report.plot.series import draw_series

        return draw_series(series, palette, title=title)

    return Drawing(draw)


def scopes_drawing(scopes: Sequence[Result], title: str | None = None) -> Drawing:
    """Both metrics of several scopes of one checkpoint over the radii, a line for each.

    Args:
        scopes: The scopes, in the order in which they are drawn.
        title: The heading; config and checkpoint when not given, none when empty.
    """

    def draw(palette: Palette) -> Figure:
        from pytest_linearity.report.plot.scopes import draw_scopes

        return draw_scopes(scopes, palette, title=title)

    return Drawing(draw)


def beside_drawing(
    results: Sequence[Result], title: str | None = None, rows: Sequence[str] | None = None
) -> Drawing:
    """Checkpoints side by side, on the same scales: both metrics and the layer profiles.

    Args:
        results: The checkpoints, from left to right.
        title: The heading; none when not given.
        rows: Which of ``relative_error``, ``cosine_similarity`` and ``layers``; all when not given.
    """

    def draw(palette: Palette) -> Figure:
        from pytest_linearity.report.plot.beside import ROWS, draw_beside

        return draw_beside(results, palette, title=title, rows=rows or ROWS)

    return Drawing(draw)
