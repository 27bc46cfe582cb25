"""`pytest-linearity analyze-logits CONFIG`: measure without judging."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_linearity.errors import FINE, UNUSABLE
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
    from pytest_linearity.cli.ranks import among_ranks

    with among_ranks():
        return _analyze(options)


def _analyze(options: argparse.Namespace) -> int:
    from pytest_linearity.cli.output import style
    from pytest_linearity.errors import CheckpointError, MeasurementError, ScopeError
    from pytest_linearity.report.results import scopes_of, series_of
    from pytest_linearity.report.terminal.report import render
    from pytest_linearity.report.terminal.scopes import render_scopes
    from pytest_linearity.report.terminal.series import render_series

    code = FINE
    measured = []
    runs: list[Run] = []
    on_all_ranks(current(), "reading the config", lambda: runs.extend(_runs(options)))
    for run in runs:
        try:
            shown = render(run.report, run.name, style(), footer="\n".join(run.provenance()))
        except (CheckpointError, MeasurementError, ScopeError) as error:
            if run.label is None and not isinstance(error, ScopeError):
                raise
            print(f"error: {error}", file=sys.stderr)
            code = UNUSABLE
            continue
        sys.stdout.write(shown)
        for failure in run.unwritten:
            print(f"error: {failure}", file=sys.stderr)
            code = UNUSABLE
        measured.append(run.result())
        run.release()
    for series in series_of(measured):
        sys.stdout.write(render_series(series, style()))
    for scopes in scopes_of(measured):
        sys.stdout.write("\n" + render_scopes(scopes, style()))
    return code


def _runs(options: argparse.Namespace) -> tuple[Run, ...]:
    from pytest_linearity.config.config import load_config
    from pytest_linearity.config.expansion import runs_of
    from pytest_linearity.report.places import report_places
    from pytest_linearity.run.progress import ProgressBar
    from pytest_linearity.run.run import make_runs

    configs = runs_of(load_config(options.config, options.set))
    places = report_places(configs, options.report)
    return make_runs(
        [(options.config, config) for config in configs],
        [None] * len(places) if current().rank else places,
        bar=lambda label: ProgressBar(sys.stderr, label),
        journals=options.resume,
    )
