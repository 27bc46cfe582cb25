"""The JUnit file, as those who read it do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import FixedAnalysis, Run, Write
from fakes import FAKE
from jenkins import faults
from junitparser import JUnitXml
from test_plugin_run import properties

GATE = "--linearity-config=gate.yaml"
JUNIT = "--junitxml=junit.xml"


def suite_of(directory: Path) -> Any:
    [suite] = JUnitXml.fromfile(str(directory / "junit.xml"))
    return suite


def of_suite(directory: Path) -> dict[str, str]:
    return {entry.name: entry.value for entry in suite_of(directory).properties()}


def of_cases(directory: Path) -> dict[str, dict[str, str]]:
    return {
        case.name: {entry.name: entry.value for entry in properties(case)}
        for case in suite_of(directory)
    }


FIGURES = {
    "gate.yaml::radius[0.3]::radius": "0.3",
    "gate.yaml::radius[0.3]::mean_relative_error": "0.06",
    "gate.yaml::radius[1.0]::complies": "false",
    "gate.yaml::radius[1.0]::reason": "mean relative error 0.31 > 0.20",
    "gate.yaml::linearity_radius::linearity_radius": "0.3",
    "gate.yaml::linearity_radius::passed": "false",
}


@pytest.fixture
def own_test(pytester: pytest.Pytester) -> None:
    """A test of the project's own, with a property of its own."""
    pytester.makepyfile("def test_own(record_property): record_property('mine', 1)")


@pytest.mark.usefixtures("fixed", "own_test")
class TestPlaces:
    def test_test_cases_by_default(self, pytester: pytest.Pytester, write_config: Write) -> None:
        write_config()
        pytester.runpytest(".", GATE, JUNIT)
        cases = of_cases(pytester.path)
        assert cases["radius[0.3]"]["mean_relative_error"] == "0.06"
        assert cases["test_own"] == {"mine": "1"}
        assert not of_suite(pytester.path)

    def test_suite(self, pytester: pytest.Pytester, write_config: Write) -> None:
        write_config()
        pytester.runpytest(".", GATE, JUNIT, "--linearity-junit-properties=suite")
        assert FIGURES.items() <= of_suite(pytester.path).items()
        cases = of_cases(pytester.path)
        assert cases.pop("test_own") == {"mine": "1"}
        assert len(cases) == 4
        assert not any(cases.values())

    def test_none(self, pytester: pytest.Pytester, write_config: Write) -> None:
        write_config()
        pytester.runpytest(".", GATE, JUNIT, "--linearity-junit-properties=none")
        assert not of_suite(pytester.path)
        cases = of_cases(pytester.path)
        assert cases.pop("test_own") == {"mine": "1"}
        assert not any(cases.values())

    def test_another_place_is_refused(self, pytester: pytest.Pytester, write_config: Write) -> None:
        write_config()
        result = pytester.runpytest(GATE, "--linearity-junit-properties=everywhere")
        assert result.ret == 4
        result.stderr.fnmatch_lines(["*--linearity-junit-properties*everywhere*"])

    def test_without_junit_file(self, pytester: pytest.Pytester, write_config: Write) -> None:
        write_config(radii=[0.1])
        result = pytester.runpytest(GATE, "--linearity-junit-properties=suite")
        result.assert_outcomes(passed=2)


@pytest.mark.parametrize("place", ["suite", "none"])
def test_jenkins_accepts_it(
    place: str, pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    write_config(min_linearity_radius=0.1)  # of each: passed, failed, skipped, error
    pytester.makepyfile("def test_own(): assert 0\ndef test_other(missing): pass")
    option = f"--linearity-junit-properties={place}"
    pytester.runpytest(".", GATE, JUNIT, option).assert_outcomes(
        passed=3, skipped=1, failed=1, errors=1
    )
    assert not faults(pytester.path / "junit.xml")


def test_jenkins_refuses_properties_of_test_cases(
    pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    write_config(radii=[0.1])
    pytester.runpytest(GATE, JUNIT)
    assert set(faults(pytester.path / "junit.xml")) == {"testcase in it: properties"}


def test_durations_add_up_to_the_time_that_measuring_took(
    pytester: pytest.Pytester, real_config: Write
) -> None:
    real_config()
    pytester.runpytest(GATE, JUNIT)
    report = json.loads((pytester.path / "linearity_report.json").read_text())
    suite = suite_of(pytester.path)
    first, *others = (case.time for case in suite)
    seconds = report["environment"]["seconds"]
    assert seconds <= first + sum(others) <= suite.time
    assert sum(others) < seconds


def test_under_xdist(pytester: pytest.Pytester, write_config: Write, run_workers: Run) -> None:
    slow = "self.progress(1, 2)"
    pytester.makeconftest(FAKE.replace(slow, f"time.sleep(2); {slow}"))
    write_config()
    result = run_workers(
        GATE, JUNIT, "-n2", "--linearity-junit-properties=suite", "-p", "no:cacheprovider"
    )
    result.assert_outcomes(passed=2, failed=2)
    assert FIGURES.items() <= of_suite(pytester.path).items()
    assert not any(of_cases(pytester.path).values())
    assert not faults(pytester.path / "junit.xml")
    # Both workers have needed the measurement, and only one of them has made it.
    assert sum(case.time >= 2 for case in suite_of(pytester.path)) == 1
