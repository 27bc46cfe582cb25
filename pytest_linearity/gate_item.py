"""What all tests of a gate have in common: whose report they take, and how they fail."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_linearity import run as run_module
from pytest_linearity.run import Run
from pytest_linearity.session import SESSION

if TYPE_CHECKING:
    from pytest_linearity.gate import GateFile, GateGroup
    from pytest_linearity.report.document import Report


class GateFailure(Exception):
    """A limit that does not hold; its message is all that is shown."""


@dataclass(frozen=True)
class FailureLocation:
    """Where a failure is, with the names that pytest and its plugins look for."""

    path: str
    """The config file."""
    lineno: int
    """Line in that file, from 1."""
    message: str
    """The line that is shown."""


class FailureLine:
    """A failure shown as one line, in full and in the short summary.

    A plain string would do for pytest 9; pytest 8 leaves it out of the short summary.
    """

    def __init__(self, path: Path, message: str) -> None:
        """A failure of the config file at `path`."""
        self.reprcrash = FailureLocation(str(path), 1, message)

    def __str__(self) -> str:
        """The line."""
        return self.reprcrash.message

    def toterminal(self, tw: Any) -> None:
        """Write the line to pytest's terminal writer."""
        tw.line(self.reprcrash.message)


class GateTest(pytest.Item):
    """A test of the gate; the first one that runs measures for all."""

    parent: GateFile | GateGroup

    @property
    def run(self) -> Run:
        """What is tested."""
        return self.parent.run

    def report(self) -> Report:
        """The report on this checkpoint, measured on first use."""
        with self.session.config.stash[SESSION].stopping_at_unusable_input(self.run):
            return self.run.report

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """One line for what a person has to know; a traceback for a bug."""
        if isinstance(excinfo.value, (GateFailure, pytest.fail.Exception)):
            return FailureLine(self.path, str(excinfo.value))
        excinfo.traceback = excinfo.traceback.cut(path=run_module.__file__)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str], int | None, str]:
        """Where the test is, and the headline of its failure."""
        return self.path, None, f"{self.run.name} {self.name}"
