"""A config file collected as tests."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import pytest

from pytest_linearity.plugin.baseline_items import (
    BaselineLinearityRadiusTest,
    BaselineRadiusTest,
    BaselineTest,
)
from pytest_linearity.plugin.items import LinearityRadiusTest, RadiusTest, UpdateTest, radii_of
from pytest_linearity.run.run import Run


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
    for radius in radii_of(parent.run.config):
        name = f"radius[{radius}]"
        # Spelled out, as pytest 9 tells a parameter from a name only in an id that it parses.
        nodeid = f"{parent.nodeid}::{name}"
        yield RadiusTest.from_parent(parent, name=name, nodeid=nodeid, radius=radius)
    yield LinearityRadiusTest.from_parent(parent, name="linearity_radius")
    if parent.run.config.gates_update:
        yield UpdateTest.from_parent(parent, name="update")
    yield from baseline_tests(parent)


def baseline_tests(parent: GateFile | GateGroup) -> Iterator[pytest.Item]:
    """One test per radius, then one for the linearity radius; none without a baseline."""
    if parent.run.baseline is None:
        return
    for radius in radii_of(parent.run.config):
        yield _named(BaselineRadiusTest, parent, f"r={radius}", radius=radius)
    yield _named(BaselineLinearityRadiusTest, parent, "linearity_radius")


def _named(
    kind: type[BaselineTest], parent: GateFile | GateGroup, what: str, **keys: Any
) -> pytest.Item:
    # Spelled out, as pytest 9 tells a parameter from a name only in an id that it parses.
    name = f"baseline[{what}]"
    test: pytest.Item = kind.from_parent(
        parent, name=name, nodeid=f"{parent.nodeid}::{name}", **keys
    )
    return test
