"""The command line outside pytest."""

from __future__ import annotations

import argparse
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, TextIO

from pytest_linearity import __version__
from pytest_linearity.errors import LinearityError

UNUSABLE = 4
"""Exit code for input that cannot be used, as pytest's."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as a shell's."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Those of the process when not given.

    Returns:
        The exit code: 0, 4 for input that cannot be used, 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            options.command(options)
    except LinearityError as error:
        print(f"error: {error}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def _analyze_logits(options: argparse.Namespace) -> None:
    from pytest_linearity.config import load_config
    from pytest_linearity.progress import ProgressBar
    from pytest_linearity.report.files import brief
    from pytest_linearity.report.places import report_places
    from pytest_linearity.report.terminal import render
    from pytest_linearity.run import Run

    config = load_config(options.config, options.set)
    [place] = report_places([config], options.report)
    bar = ProgressBar(sys.stderr, "measuring linearity")
    run = Run(config, name=str(options.config), report_path=place, bar=bar)
    shown = render(
        run.report,
        run.name,
        width=shutil.get_terminal_size().columns,
        color=sys.stdout.isatty(),
        encoding=sys.stdout.encoding,
        footer=f"report: {brief(place)}",
    )
    sys.stdout.write(shown)


class _Parser(argparse.ArgumentParser):
    """A parser whose usage errors have pytest's exit code."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(UNUSABLE, f"error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="pytest-linearity",
        description="Is a checkpoint's last-token logit map still locally linear?",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    analyze = commands.add_parser(
        "analyze-logits",
        help="measure a checkpoint and write its report, without judging it",
        description="Measure a checkpoint and write its JSON report. The exit code is 0 whatever "
        "the figures are, and 4 where the input cannot be used.",
    )
    analyze.add_argument("config", type=Path, help="the YAML config")
    analyze.add_argument(
        "--report",
        type=Path,
        metavar="PATH",
        help="where the report goes, instead of `output_dir`/`report_filename` of the config",
    )
    analyze.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key of the config, as in radii=[0.1,1.0]; repeatable",
    )
    analyze.set_defaults(command=_analyze_logits)
    return parser


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """What `warnings.showwarning` is replaced by: where in this package it arose is no help."""
    print(f"warning: {message}", file=file or sys.stderr)
