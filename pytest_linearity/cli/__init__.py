"""The command line outside pytest: one module per command."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn, TextIO

from pytest_linearity import __version__
from pytest_linearity.cli import analyze, check, compare, init, metrics, plan, plot, show
from pytest_linearity.errors import INTERRUPTED, UNUSABLE, LinearityError

COMMANDS = (init, check, analyze, plan, compare, show, plot, metrics)
"""In the order in which `--help` lists them; each adds its parser, which names what it runs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Those of the process when not given.

    Returns:
        The exit code: that of the command (0, or 1 where it was asked to fail), 4 for input that
        cannot be used, 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code: int = options.command(options)
    except LinearityError as error:
        print(f"error: {error}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return code


class _Parser(argparse.ArgumentParser):
    """A parser whose usage errors have pytest's exit code."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(UNUSABLE, f"error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="pytest-linearity",
        description="Is a checkpoint's last-token logit map still locally linear?",
        epilog="Each command has a --help of its own.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
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
