"""A config file collected as tests."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import pytest

from pytest_linearity.baseline_gate import baseline_tests
from pytest_linearity.gate_item import GateFailure, GateTest
from pytest_linearity.report.document import Report
from pytest_linearity.report.junit import radius_properties, verdict_properties
from pytest_linearity.run import Run


class GateFile(pytest.File):
    """A config file: the tests of its checkpoint, or groups of tests for several, or scopes."""

    runs: Sequence[Run]
    """What the config asks for: a run per checkpoint and scope."""

    @classmethod
    def of(cls, runs: Sequence[Run], parent: pytest.Collector) -> GateFile:
        """The collector of the runs of one config file."""
        path = runs[0].source
        outside: dict[str, Any] = {}
        if not path.is_relative_to(parent.config.rootpath):
            # pytest has no name of its own for a file that is not below its root directory.
            outside["nodeid"] = os.path.relpath(path, parent.config.rootpath).replace(os.sep, "/")
        gate: GateFile = cls.from_parent(parent, path=path, **outside)
        gate.runs = runs
        return gate

    @property
    def run(self) -> Run:
        """The only run, where the config names one checkpoint and scope."""
        [run] = self.runs
        return run

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        """The tests or groups; their names need no measurement."""
        return _members(self, 0)


class GateGroup(pytest.Collector):
    """One of several checkpoints or scopes: its tests, or a group of tests for each scope."""

    def __init__(self, *, runs: Sequence[Run], level: int, **kwargs: Any) -> None:
        """The group of runs whose labels up to a level are the same."""
        super().__init__(**kwargs)
        self.runs = runs
        self._level = level

    @property
    def run(self) -> Run:
        """The only run, where the group holds tests."""
        [run] = self.runs
        return run

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        """The tests or groups."""
        return _members(self, self._level)


def _members(parent: GateFile | GateGroup, level: int) -> Iterator[pytest.Item | pytest.Collector]:
    """The tests of a single run, or groups by the label at a level."""
    if level == len(parent.runs[0].config.labels):
        yield from _tests(parent)
        return
    for label, runs in groupby(parent.runs, lambda run: run.config.labels[level]):
        yield GateGroup.from_parent(parent, name=label, runs=list(runs), level=level + 1)


def _tests(parent: GateFile | GateGroup) -> Iterator[pytest.Item]:
    """One test per radius, one for the linearity radius, and those against the baseline."""
    for radius in parent.run.config.radii:
        name = f"radius[{radius}]"
        # Spelled out, as pytest 9 tells a parameter from a name only in an id that it parses.
        nodeid = f"{parent.nodeid}::{name}"
        yield RadiusTest.from_parent(parent, name=name, nodeid=nodeid, radius=radius)
    yield LinearityRadiusTest.from_parent(parent, name="linearity_radius")
    yield from baseline_tests(parent)


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
        least = self.run.config.min_linearity_radius
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
        least = self.run.config.min_linearity_radius
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
