"""`pytest-linearity analyze-logits CONFIG`: measure without judging."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_linearity.cli.exit_codes import FINE, UNUSABLE

if TYPE_CHECKING:
    from pytest_linearity.run import Run


def add_parser(commands: Any) -> None:
    """Add the command to the parser's subparsers."""
    parser = commands.add_parser(
        "analyze-logits",
        help="measure checkpoints and write their reports, without judging them",
        description="Measure the checkpoints of a config and write a JSON report on each. The exit "
        "code is 0 whatever the figures are, and 4 where the input cannot be used; one of several "
        "checkpoints that cannot be measured is left out, and the others are measured.",
    )
    parser.add_argument("config", type=Path, help="the YAML config")
    parser.add_argument(
        "--report",
        type=Path,
        metavar="PATH",
        help="where the report goes, instead of `output_dir`/`report_filename` of the config",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key of the config, as in radii=[0.1,1.0]; repeatable",
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Measure, write the reports, and show the figures."""
    from pytest_linearity.cli.output import style
    from pytest_linearity.errors import CheckpointError, MeasurementError
    from pytest_linearity.report.series import render_series
    from pytest_linearity.report.terminal import render

    code = FINE
    measured = []
    for run in _runs(options):
        try:
            shown = render(run.report, run.name, footer="\n".join(run.provenance()), **style())
        except (CheckpointError, MeasurementError) as error:
            if run.label is None:
                raise
            print(f"error: {error}", file=sys.stderr)
            code = UNUSABLE
            continue
        sys.stdout.write(shown)
        measured.append(run.result())
        run.release()
    if len(measured) > 1:
        sys.stdout.write(render_series(measured, **style()))
    return code


def _runs(options: argparse.Namespace) -> list[Run]:
    from pytest_linearity.config import load_config
    from pytest_linearity.progress import ProgressBar
    from pytest_linearity.report.places import report_places
    from pytest_linearity.run import Run

    configs = load_config(options.config, options.set).checkpoints()
    return [
        Run(
            config,
            name=str(options.config),
            report_path=place,
            bar=ProgressBar(sys.stderr, f"measuring {config.label or 'linearity'}"),
        )
        for config, place in zip(configs, report_places(configs, options.report), strict=True)
    ]
