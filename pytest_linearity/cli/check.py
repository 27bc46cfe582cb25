"""`pytest-linearity check MODEL`: the gate outside pytest, of a checkpoint or a config."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_linearity.errors import FAILED
from pytest_linearity.numerics.ranks import current, on_all_ranks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_linearity.config.config import Config
    from pytest_linearity.report.results import Result
    from pytest_linearity.run.run import Run

_CONFIGS = (".yaml", ".yml")


def add_parser(commands: Any) -> None:
    """Add the command to the parser's subparsers."""
    parser = commands.add_parser(
        "check",
        help="measure and judge a checkpoint without a config, or those of a config",
        description="Measure a checkpoint on the built-in prompts, at radii around the crossing of "
        "the limits; or what a YAML config says. The exit code is 0 where the gate passes, 1 where "
        "it fails, and 4 where the input cannot be used.",
    )
    parser.add_argument(
        "model", help="a checkpoint's directory, the id of a model on the hub, or a YAML config"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key, as in num_directions=16; repeatable",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="PATH",
        help="write the JSON report here; without, a checkpoint leaves none behind",
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Measure, judge, and show the figures."""
    from pytest_linearity.cli.measured import show
    from pytest_linearity.cli.ranks import among_ranks

    with among_ranks():
        runs: list[Run] = []
        on_all_ranks(current(), "reading the config", lambda: runs.extend(_runs(options)))
        shown = show(runs)
        return shown.code or (0 if all(map(_passes, shown.results)) else FAILED)


def _runs(options: argparse.Namespace) -> tuple[Run, ...]:
    from pytest_linearity.cli.measured import runs_for

    path = Path(options.model)
    configs = _configs(path, options)
    writes = options.report is not None or path.suffix in _CONFIGS
    return runs_for(path, configs, options.report, None, writes=writes)


def _configs(path: Path, options: argparse.Namespace) -> Sequence[Config]:
    from pytest_linearity.config.expansion import runs_of
    from pytest_linearity.config.loading import config_of_model, load_config

    if path.suffix in _CONFIGS:
        return runs_of(load_config(path, options.set))
    return runs_of(config_of_model(options.model, options.set))


def _passes(result: Result) -> bool:
    """Whether the gate passes: its radii, and the update where it is one of its tests."""
    update = result.report.update
    return result.report.passed and (update is None or update.complies is not False)
