"""`pytest-linearity compare A.json B.json`: has the second report regressed?"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

from pytest_linearity.errors import FAILED, FINE


def add_parser(commands: Any) -> None:
    """Add the command to the parser's subparsers."""
    parser = commands.add_parser(
        "compare",
        help="compare a report with a baseline, pair by pair",
        description="Compare two JSON reports on the same probes, directions and radii. The exit "
        "code is 0, or with --fail-on-regression 1 where the second report has regressed, and 4 "
        "where a report cannot be read or the two cannot be compared.",
    )
    parser.add_argument("baseline", type=Path, metavar="BASELINE", help="the earlier report")
    parser.add_argument("report", type=Path, metavar="REPORT", help="the report to judge")
    parser.add_argument(
        "--fail-on-regression",
        action="store_true",
        help="exit with 1 where the mean relative error grew by more than the limit, and by more "
        "than chance, at some radius, or where the linearity radius fell",
    )
    parser.add_argument(
        "--max-regression",
        type=_part,
        metavar="PART",
        help="how much the mean relative error may grow, as a part of the baseline's; "
        "the second report's own `max_regression` (default 0.1) where it is not given",
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Compare, and show both figures of every radius."""
    from pytest_linearity.cli.output import style
    from pytest_linearity.files import brief
    from pytest_linearity.report.json import read_report
    from pytest_linearity.report.terminal.regression import render_comparison
    from pytest_linearity.verdict.regression.compare import compare

    baseline, report = read_report(options.baseline), read_report(options.report)
    limit = _limit(options.max_regression, report.config.get("max_regression"))
    regression = compare(report, baseline, limit, name=str(brief(options.baseline)))
    title = f"{brief(options.report)} against {brief(options.baseline)}"
    sys.stdout.write(render_comparison(regression, title, style()))
    sys.stdout.writelines(f" {reason}\n" for reason in regression.reasons)
    return FAILED if options.fail_on_regression and not regression.passed else FINE


def _limit(asked: float | None, recorded: float | None) -> float:
    from pytest_linearity.config.config import Config

    if asked is not None:
        return asked
    return Config.max_regression if recorded is None else recorded


def _part(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0, as 0.1 for 10%")
    return value
