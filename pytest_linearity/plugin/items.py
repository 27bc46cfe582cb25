"""What all tests of a gate have in common: whose report they take, and how they fail."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import pytest

from pytest_linearity.errors import FailedBefore
from pytest_linearity.numerics.measurement.grid import COUNT
from pytest_linearity.plugin.session import SESSION
from pytest_linearity.report import text
from pytest_linearity.report.junit import (
    Properties,
    radius_properties,
    update_properties,
    verdict_properties,
)
from pytest_linearity.run import run as run_module
from pytest_linearity.run.run import Run
from pytest_linearity.verdict.document import Report
from pytest_linearity.verdict.kinds import by_kind, must_comply

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config


class HasRun(Protocol):
    """A collector whose tests are about one run."""

    run: Run


class GateFailure(AssertionError):
    """A limit that does not hold; its message is all that is shown.

    An assertion, as reporters tell a test that failed from one that is broken.
    """


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

    @property
    def run(self) -> Run:
        """What is tested."""
        return cast(HasRun, self.parent).run

    def report(self) -> Report:
        """The report on this checkpoint, measured on first use."""
        with self.session.config.stash[SESSION].ending.stopping_at_unusable_input(self.run):
            return self.run.report

    @property
    def parameters(self) -> Mapping[str, object]:
        """What tells it from the other tests of its kind and run."""
        return {}

    def record(self, properties: Properties) -> None:
        """Have figures reported; a test that a plugin runs again reports them once."""
        names = {name for name, _ in properties}
        kept = [entry for entry in self.user_properties if entry[0] not in names]
        self.user_properties[:] = [*kept, *properties]

    def _initrequest(self) -> None:
        """Nothing: pytest-retry calls it so that a function gets its fixtures anew."""

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """One line for what a person has to know; a traceback for a bug."""
        if isinstance(excinfo.value, (GateFailure, FailedBefore, pytest.fail.Exception)):
            return FailureLine(self.path, str(excinfo.value))
        excinfo.traceback = excinfo.traceback.cut(path=run_module.__file__)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str], int | None, str]:
        """Where the test is, and the headline of its failure."""
        return self.path, None, f"{self.run.name} {self.name}"


@dataclass(frozen=True)
class ChosenRadius:
    """One of the radii of `radii: auto`, which is known once they have been chosen."""

    place: int
    """Which of its kind of directions, in ascending order, from 1."""

    def __str__(self) -> str:
        """The radius in the id of a test, which does not change with what is chosen."""
        return f"auto-{self.place}"

    def among(self, config: Config) -> list[float]:
        """What was chosen: a radius, or one of each kind of directions.

        Args:
            config: With the chosen radii.
        """
        kinds = config.radii_by_kind.values()
        return sorted({radii[self.place - 1] for radii in kinds if self.place <= len(radii)})


def radii_of(config: Config) -> tuple[float | ChosenRadius, ...]:
    """The radii that a config's tests are about."""
    if not config.automatic:
        return config.tested_radii
    most = max(COUNT, *map(len, config.radii_by_kind.values()))
    return tuple(map(ChosenRadius, range(1, most + 1)))


class RadiusTest(GateTest):
    """One radius complies with both limits."""

    def __init__(self, *, radius: float | ChosenRadius, **kwargs: Any) -> None:
        """A test of `radius`."""
        super().__init__(**kwargs)
        self._radius = radius

    @property
    def parameters(self) -> Mapping[str, object]:
        """The radius, which tells it from other tests of radii."""
        chosen = isinstance(self._radius, ChosenRadius)
        return {"radius": str(self._radius) if chosen else self._radius}

    def radii(self) -> list[float]:
        """The radius; of radii that were chosen for several kinds of directions, that of each."""
        if isinstance(self._radius, float):
            return [self._radius]
        with self.session.config.stash[SESSION].ending.stopping_at_unusable_input(self.run):
            return self._radius.among(self.run.findings.settled(self.run.config))

    def runtest(self) -> None:
        """Fail, or skip above `min_linearity_radius`, where a radius does not comply."""
        report = self.report()
        everywhere = [report.at(radius) for radius in self.radii()]
        self.record([entry for figures in everywhere for entry in radius_properties(figures)])
        broken = [figures for figures in everywhere if not figures.complies]
        if not broken:
            return
        reached = text.linearity_radius(report)
        said = "; ".join(f"{figures.reason} at r={figures.radius}" for figures in broken)
        said = f"{said} (linearity radius {reached})"
        if not any(must_comply(figures, report.config) for figures in broken):
            least = text.least_radius(report)
            pytest.skip(f"{said}; only radii up to min_linearity_radius {least} must comply")
        raise GateFailure(said)


class UpdateTest(GateTest):
    """The fine-tune is in its linear regime: ε and c along its own update, at its own length."""

    def runtest(self) -> None:
        """Fail where they are not within the limits; skip where a base does not fit."""
        update = self.report().update
        assert update is not None
        self.record(update_properties(update))
        if update.complies is None:
            pytest.skip(f"the update from {update.base} is not measured: {update.reason}")
        if not update.complies:
            raise GateFailure(f"{update.reason} along the update: {text.update(update)}")


class LinearityRadiusTest(GateTest):
    """The verdict on the checkpoint: its linearity radius is what it has to be."""

    def runtest(self) -> None:
        """Fail where the linearity radius is too small, or a smaller radius does not comply."""
        report = self.report()
        self.record(verdict_properties(report))
        if not report.passed:
            raise GateFailure(self._shortfall(report))

    def _shortfall(self, report: Report) -> str:
        """Why the verdict is no pass, along each kind of directions where there are several."""
        kinds = by_kind(report)
        said: dict[str, list[str]] = {}
        for kind, of_kind in kinds.items():
            if not of_kind.passed:
                said.setdefault(_shortfall(of_kind), []).append(kind)
        if len(kinds) == 1:
            return next(iter(said))
        return "; ".join(f"{' and '.join(of)}: {reason}" for reason, of in said.items())


def _shortfall(report: Report) -> str:
    reached, least = report.linearity_radius, report.config["min_linearity_radius"]
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
