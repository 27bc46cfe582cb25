"""`pytest-linearity plot REPORT...`: the figures of reports as a picture."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from pytest_linearity.errors import FINE

if TYPE_CHECKING:
    from pytest_linearity.report.results import Result
    from pytest_linearity.verdict.document import Report


def add_parser(commands: Any) -> None:
    """Add the command to the parser's subparsers."""
    parser = commands.add_parser(
        "plot",
        help="draw a report over its radii, or several over training steps",
        description="Draw JSON reports, with matplotlib (the extra `plot`): one report over its "
        "radii; several over the training steps that the names of their checkpoints end with, or "
        "else one after the other; with --beside each over its radii, in columns. The exit code is "
        "0, and 4 where a report cannot be read or the picture not be drawn or written.",
    )
    parser.add_argument("reports", type=Path, nargs="+", metavar="REPORT", help="a JSON report")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="PATH",
        default=Path("linearity.png"),
        help="the picture, as .png, .svg or .pdf (default: %(default)s)",
    )
    parser.add_argument("--title", help="its heading, instead of the checkpoint's path")
    parser.add_argument(
        "--beside",
        action="store_true",
        help="metrics and layer profile of each report, side by side on the same scales",
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Draw one report, or compare several."""
    from pytest_linearity.files import brief, require_writable
    from pytest_linearity.report.json import read_report
    from pytest_linearity.report.plot import (
        beside_drawing,
        report_drawing,
        require_plottable,
        series_drawing,
    )

    require_plottable(options.output)
    require_writable(options.output, what="plot", set_by="--output")
    reports = [read_report(path) for path in options.reports]
    results = _named(reports, options.reports)
    if options.beside:
        drawing = beside_drawing(results, options.title)
    elif len(reports) == 1:
        drawing = report_drawing(reports[0], options.title)
    else:
        drawing = series_drawing(_in_order(results), options.title or f"{len(reports)} checkpoints")
    drawing.save(options.output)
    print(f"plot: {brief(options.output)}")
    return FINE


def _named(reports: Sequence[Report], paths: Sequence[Path]) -> list[Result]:
    """The reports as results, each under a name that tells it from the others."""
    from pytest_linearity.checkpoint.files import trailing_step
    from pytest_linearity.report.results import Result

    names = [PurePath(report.checkpoint["path"]).name for report in reports]
    if len(set(names)) < len(names):
        names = [path.stem for path in paths]  # checkpoints of one name, from several runs
    return [
        Result(str(path), name, trailing_step(name), report)
        for path, name, report in zip(paths, names, reports, strict=True)
    ]


def _in_order(results: list[Result]) -> list[Result]:
    """The results in the order of their training steps, where all are known."""
    from pytest_linearity.report.results import over_steps

    if over_steps(results):
        return sorted(results, key=lambda result: result.step or 0)
    return results
