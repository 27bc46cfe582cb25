"""`pytest-linearity analyze-logits CONFIG`: measure without judging."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_linearity.numerics.ranks import current, on_all_ranks

if TYPE_CHECKING:
    from pytest_linearity.run.run import Run


def add_parser(commands: Any) -> None:
    """Add the command to the parser's subparsers."""
    parser = commands.add_parser(
        "analyze-logits",
        help="measure checkpoints and write their reports, without judging them",
        description="Measure the checkpoints of a config and write a JSON report on each. The exit "
        "code is 0 whatever the figures are, and 4 where the input cannot be used, or a report not "
        "be written, which is shown all the same; one of several checkpoints or scopes that cannot "
        "be measured is left out, and the others are measured.",
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
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="DIR",
        help="keep results in this directory as they come, and go on from what a run that was "
        "killed has left there",
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Measure, write the reports, and show the figures."""
    from pytest_linearity.cli.measured import show
    from pytest_linearity.cli.ranks import among_ranks

    with among_ranks():
        runs: list[Run] = []
        on_all_ranks(current(), "reading the config", lambda: runs.extend(_runs(options)))
        return show(runs).code


def _runs(options: argparse.Namespace) -> tuple[Run, ...]:
    from pytest_linearity.cli.measured import runs_for
    from pytest_linearity.config.expansion import runs_of
    from pytest_linearity.config.loading import load_config

    configs = runs_of(load_config(options.config, options.set))
    return runs_for(options.config, configs, options.report, options.resume)
