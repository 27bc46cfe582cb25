"""A config file collected as tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_linearity import run as run_module
from pytest_linearity.report.document import Report
from pytest_linearity.report.junit import radius_properties, verdict_properties
from pytest_linearity.run import Run
from pytest_linearity.session import SESSION


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


class GateFile(pytest.File):
    """A config file: one test per radius, then one for the linearity radius."""

    run: Run
    """What the config asks for."""

    @classmethod
    def of(cls, run: Run, parent: pytest.Collector) -> GateFile:
        """The collector of a run's config file."""
        path = run.source
        outside: dict[str, Any] = {}
        if not path.is_relative_to(parent.config.rootpath):
            # pytest has no name of its own for a file that is not below its root directory.
            outside["nodeid"] = os.path.relpath(path, parent.config.rootpath).replace(os.sep, "/")
        gate: GateFile = cls.from_parent(parent, path=path, **outside)
        gate.run = run
        return gate

    def collect(self) -> Iterator[pytest.Item]:
        """The tests; their names need no measurement."""
        for radius in self.run.config.radii:
            name = f"radius[{radius}]"
            # Spelled out, as pytest 9 tells a parameter from a name only in an id that it parses.
            nodeid = f"{self.nodeid}::{name}"
            yield RadiusTest.from_parent(self, name=name, nodeid=nodeid, radius=radius)
        yield LinearityRadiusTest.from_parent(self, name="linearity_radius")


class GateTest(pytest.Item):
    """A test of the gate; the first one that runs measures for all."""

    parent: GateFile

    def report(self) -> Report:
        """The report of this config, measured on first use."""
        with self.session.config.stash[SESSION].stopping_at_unusable_input():
            return self.parent.run.report

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """One line for a limit that does not hold; a traceback for anything else."""
        if isinstance(excinfo.value, GateFailure):
            return FailureLine(self.path, str(excinfo.value))
        excinfo.traceback = excinfo.traceback.cut(path=run_module.__file__)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str], int | None, str]:
        """Where the test is, and the headline of its failure."""
        return self.path, None, f"{self.parent.run.name} {self.name}"


class RadiusTest(GateTest):
    """One radius complies with both limits."""

    def __init__(self, *, radius: float, **kwargs: Any) -> None:
        """A test of `radius`."""
        super().__init__(**kwargs)
        self.radius = radius

    def runtest(self) -> None:
        """Fail, or skip above `min_linearity_radius`, where the radius does not comply."""
        report = self.report()
        figures = report.at(self.radius)
        self.user_properties += radius_properties(figures)
        if figures.complies:
            return
        found = f"{figures.reason} at r={self.radius} (linearity radius {_radius(report)})"
        least = self.parent.run.config.min_linearity_radius
        if least is not None and self.radius > least:
            pytest.skip(f"{found}; only radii up to min_linearity_radius {least} must comply")
        raise GateFailure(found)


class LinearityRadiusTest(GateTest):
    """The verdict on the checkpoint: its linearity radius is what it has to be."""

    def runtest(self) -> None:
        """Fail where the linearity radius is too small, or a smaller radius does not comply."""
        report = self.report()
        self.user_properties += verdict_properties(report)
        if not report.passed:
            raise GateFailure(self._shortfall(report))

    def _shortfall(self, report: Report) -> str:
        reached = report.linearity_radius
        least = self.parent.run.config.min_linearity_radius
        required, name = (
            (report.radii[-1].radius, "the largest tested radius")
            if least is None
            else (least, "min_linearity_radius")
        )
        if reached is None:
            return f"linearity radius none: no tested radius complies, {required} must ({name})"
        if reached < required:
            return f"linearity radius {reached} < {required} ({name})"
        broken = ", ".join(str(f.radius) for f in report.radii if not f.complies)
        return f"linearity radius {reached}, but {broken} does not comply"


def _radius(report: Report) -> str:
    return "none" if report.linearity_radius is None else str(report.linearity_radius)
