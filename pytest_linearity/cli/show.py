"""`pytest-linearity show REPORT...`: the figures of reports as tables."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pytest_linearity.errors import FINE


def add_parser(commands: Any) -> None:
    """Add the command to the parser's subparsers."""
    parser = commands.add_parser(
        "show",
        help="show the figures of reports",
        description="Show the figures of JSON reports, each as a table. The exit code is 0 "
        "whatever the figures are, and 4 where a report cannot be read; then none is shown.",
    )
    parser.add_argument("reports", type=Path, nargs="+", metavar="REPORT", help="a JSON report")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Show the reports in the order given."""
    from pytest_linearity.cli.output import style
    from pytest_linearity.files import brief
    from pytest_linearity.report.json import read_report
    from pytest_linearity.report.terminal.report import render

    reports = [(str(brief(path)), read_report(path)) for path in options.reports]
    tables = [render(report, name, style()) for name, report in reports]
    sys.stdout.write("\n".join(tables))
    return FINE
