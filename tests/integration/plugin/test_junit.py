"""The JUnit file, as those who read it do."""

from __future__ import annotations

import json

import pytest

from tests.support.fixed import FixedAnalysis
from tests.support.fixtures import Write
from tests.support.jenkins import faults
from tests.support.junit import FIGURES, of_cases, of_suite, suite_of

GATE = "--linearity-config=gate.yaml"
JUNIT = "--junitxml=junit.xml"


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
