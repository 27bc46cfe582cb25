"""The tests that compare a checkpoint with its baseline."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_linearity.plugin.items import GateFailure, GateTest, RadiusTest
from pytest_linearity.plugin.session import SESSION

if TYPE_CHECKING:
    from pytest_linearity.verdict.regression.compare import RadiusRegression, Regression


class BaselineTest(GateTest):
    """A test against the baseline."""

    def regression(self) -> Regression:
        """The comparison with the baseline; skips the test where there is none yet."""
        self.report()
        with self.session.config.stash[SESSION].ending.stopping_at_unusable_input(self.run):
            regression = self.run.regression
        if regression is None:
            name = self.run.baseline.name if self.run.baseline else ""
            pytest.skip(f"{name}: there is no baseline yet: this run's report becomes it")
        return regression


class BaselineRadiusTest(BaselineTest, RadiusTest):
    """The mean relative error at one radius has not grown."""

    def runtest(self) -> None:
        """Fail where it has regressed; skip where no pair is defined in both reports."""
        regression = self.regression()
        entries = [regression.at(radius) for radius in self.radii()]
        self.record([figure for entry in entries for figure in _properties(entry)])
        reasons = [entry.reason for entry in entries if entry.reason is not None]
        if reasons:
            raise GateFailure("; ".join(reasons))
        unknown = [str(entry.radius) for entry in entries if entry.status == "not compared"]
        if len(unknown) == len(entries):
            pytest.skip(
                f"nothing to compare at r={', '.join(unknown)}: "
                "no (direction, prompt) pair is defined in the baseline"
            )


class BaselineLinearityRadiusTest(BaselineTest):
    """The linearity radius has not fallen."""

    def runtest(self) -> None:
        """Fail where it has."""
        found = self.regression()
        self.record(
            [
                ("baseline_linearity_radius", json.dumps(found.baseline_radius)),
                ("linearity_radius", json.dumps(found.linearity_radius)),
            ]
        )
        if found.radius_reason is not None:
            raise GateFailure(found.radius_reason)


def _properties(found: RadiusRegression) -> list[tuple[str, object]]:
    """What JUnit gets; numbers as JSON spells them, one that is not defined left out."""
    if found.by_kind:
        each = [
            (f"{name}[{kind}]", value)
            for kind, one in found.by_kind.items()
            for name, value in _properties(replace(one, by_kind={}))
            if name != "radius"
        ]
        return [("radius", json.dumps(found.radius)), *each, ("regression", found.status)]
    low, high = found.interval or (None, None)
    figures = {
        "radius": found.radius,
        "baseline_relative_error": found.baseline,
        "mean_relative_error": found.current,
        "growth": found.growth,
        "difference": found.difference,
        "difference_low": low,
        "difference_high": high,
    }
    given = [(name, json.dumps(value)) for name, value in figures.items() if value is not None]
    return [*given, ("regression", found.status)]
