"""`pytest-linearity metrics`: the metrics that a config may name."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from pytest_linearity.errors import FINE

if TYPE_CHECKING:
    from pytest_linearity.numerics.metrics.metric import Metric


def add_parser(commands: Any) -> None:
    """Add the command to the parser's subparsers."""
    parser = commands.add_parser(
        "metrics",
        help="list the metrics that a config may name",
        description="List the metrics that `metrics` and `limits` of a config may name: those "
        "built in and those of installed packages. What conftest files and other plugins of "
        "pytest add, pytest alone knows.",
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Show the list."""
    from pytest_linearity.cli.output import style
    from pytest_linearity.numerics.metrics.registry import known_metrics

    shown = "".join(map(_entry, known_metrics()))
    # Formulas have letters that not every terminal has.
    encoding = style().encoding
    sys.stdout.write(shown.encode(encoding, "replace").decode(encoding))
    return FINE


def _entry(metric: Metric) -> str:
    limit = "" if metric.limit is None else f", limit {metric.limit:g}"
    return f"{metric.name} ({metric.good} is better{limit})\n    {metric.about}\n"
