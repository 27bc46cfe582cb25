"""`pytest-linearity plan CONFIG`: what a run will take, before it is done."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_linearity.config import values
from pytest_linearity.errors import FINE, first_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_linearity.config.config import Config


_MOST = 1_000_000
"""Of ranks, prompts and tokens: more would take longer to count than anything is worth."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser's subparsers."""
    parser = commands.add_parser(
        "plan",
        help="tell how much work, memory and time a run will take",
        description="Tell how much work, memory and time a run will take. Of the checkpoint only "
        "its config and the headers of its files are read. The exit code is 0, and 4 where the "
        "input cannot be used.",
    )
    parser.add_argument(
        "config", type=Path, help="the YAML config; or a model's config.json, where that is all"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key of the config, as in num_directions=16; repeatable",
    )
    parser.add_argument(
        "--ranks", type=_count, default=1, metavar="N", help="processes that share the directions"
    )
    parser.add_argument(
        "--prompts", type=_count, metavar="N", help="assume so many prompts (default: the config's)"
    )
    parser.add_argument(
        "--tokens", type=_count, metavar="T", help="assume so many tokens in each prompt"
    )
    parser.add_argument(
        "--no-time",
        action="store_true",
        help="do not try this machine, which takes some seconds, and do not tell the time",
    )
    parser.add_argument("--json", action="store_true", help="write JSON instead of a table")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Show the plan of every checkpoint of the config."""
    plans = {config.label: _plan(config, options) for config in _configs(options)}
    if options.json:
        documents = [plan.to_dict() for plan in plans.values()]
        json.dump(documents if len(documents) > 1 else documents[0], sys.stdout, indent=2)
        sys.stdout.write("\n")
        return FINE
    from pytest_linearity.cli.output import style
    from pytest_linearity.plan.table import render, title_of

    for label, plan in plans.items():
        sys.stdout.write(render(plan, title_of(options.config, label), style()))
    return FINE


def _plan(config: Config, options: argparse.Namespace) -> Any:
    from pytest_linearity.plan import plan_of

    return plan_of(
        config,
        ranks=options.ranks,
        prompts=options.prompts,
        tokens=options.tokens,
        timed=not options.no_time,
    )


def _configs(options: argparse.Namespace) -> Sequence[Config]:
    from pytest_linearity.config.expansion import checkpoints_of
    from pytest_linearity.config.loading import load_config

    if options.config.suffix == ".json":
        return (_of_model(options.config, options.set),)
    return checkpoints_of(load_config(options.config, options.set))


def _of_model(path: Path, overrides: Sequence[str]) -> Config:
    """A config with nothing but a model and the overrides."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from pytest_linearity.config.config import KEYS, Config
    from pytest_linearity.errors import ConfigError

    if not os.path.isfile(path):
        raise ConfigError(f"{path}: there is no such file")
    try:
        given: Any = OmegaConf.to_container(OmegaConf.from_dotlist(list(overrides)))
    except (OmegaConfBaseException, ValueError) as error:
        raise ConfigError(f"--set: {first_line(error)}") from None
    unknown = sorted(given.keys() - set(KEYS))
    if unknown:
        raise ConfigError(f"--set: {unknown[0]} is not a key; see the README for those there are")
    return Config(**{"model_name_or_path": str(path), **given})


def _count(text: str) -> int:
    try:
        return int(values.integer(1, _MOST)(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
