"""Which tests run: the gate alone, with others, in parts, or not at all."""

from __future__ import annotations

import os

import pytest

from tests.support.fixed import FixedAnalysis
from tests.support.fixtures import Write


@pytest.fixture
def project(pytester: pytest.Pytester) -> None:
    """A project with a test of its own, in its `testpaths`."""
    pytester.makeini("[pytest]\ntestpaths = tests\n")
    pytester.makepyfile(**{"tests/test_own": "def test_own(): pass"})


@pytest.fixture(autouse=True)
def healthy(fixed: type[FixedAnalysis]) -> None:
    fixed.figures = {0.1: (0.02, 0.99), 0.3: (0.06, 0.99), 1.0: (0.15, 0.97)}


def names(pytester: pytest.Pytester, *arguments: str) -> list[str]:
    """The ids of the tests that these arguments select."""
    result = pytester.runpytest(*arguments, "--collect-only", "-q")
    return [line for line in result.outlines if "::" in line]


GATE = [f"gate.yaml::{name}" for name in ("radius[0.1]", "radius[1.0]", "linearity_radius")]
OWN = "tests/test_own.py::test_own"


@pytest.fixture
def gate(write_config: Write) -> None:
    write_config(radii=[0.1, 1.0])


@pytest.mark.usefixtures("project", "gate")
class TestSelection:
    def test_without_paths_the_gate_runs_alone(self, pytester: pytest.Pytester) -> None:
        assert names(pytester, "--linearity-config", "gate.yaml") == GATE
        result = pytester.runpytest("--linearity-config", "gate.yaml")
        result.assert_outcomes(passed=3)
        result.stdout.no_fnmatch_line("testpaths: *")

    def test_with_paths_those_tests_run_too(self, pytester: pytest.Pytester) -> None:
        assert names(pytester, "tests", "--linearity-config", "gate.yaml") == [OWN, *GATE]
        pytester.runpytest("--linearity-config=gate.yaml", "tests").assert_outcomes(passed=4)

    def test_without_the_option_there_is_no_gate(self, pytester: pytest.Pytester) -> None:
        assert names(pytester) == [OWN]
        assert names(pytester, ".") == [OWN]

    def test_the_ini_key_alone_runs_no_gate(self, pytester: pytest.Pytester) -> None:
        assert names(pytester, "-o", "linearity_config=gate.yaml") == [OWN]

    def test_the_option_is_repeatable(self, pytester: pytest.Pytester, write_config: Write) -> None:
        write_config("other.yaml", radii=[0.3])
        options = ["--linearity-config", "gate.yaml", "--linearity-config", "other.yaml"]
        other = ["other.yaml::radius[0.3]", "other.yaml::linearity_radius"]
        assert names(pytester, *options) == [*GATE, *other]
        pytester.runpytest(*options).assert_outcomes(passed=5)

    def test_a_config_given_twice_runs_once(self, pytester: pytest.Pytester) -> None:
        again = str(pytester.path / "gate.yaml")
        options = ["--linearity-config", "gate.yaml", "--linearity-config", again]
        assert names(pytester, *options) == GATE

    def test_one_test_of_the_gate_by_its_id(self, pytester: pytest.Pytester) -> None:
        assert names(pytester, "--linearity-config", "gate.yaml", GATE[1]) == [GATE[1]]
        assert names(pytester, "--linearity-config", "gate.yaml", "gate.yaml", OWN) == [*GATE, OWN]

    def test_by_keyword(self, pytester: pytest.Pytester) -> None:
        options = ["--linearity-config", "gate.yaml", "-k", "linearity_radius"]
        assert names(pytester, *options) == [GATE[2]]

    def test_deselected(self, pytester: pytest.Pytester) -> None:
        options = ["--linearity-config", "gate.yaml", "--deselect", GATE[1]]
        assert names(pytester, *options) == [GATE[0], GATE[2]]


@pytest.mark.parametrize("paths", [(), (".",), ("build",), ("tests",), ("build/gate.yaml",)])
@pytest.mark.usefixtures("project")
def test_a_gate_in_an_ignored_directory_is_never_lost(
    paths: tuple[str, ...], pytester: pytest.Pytester, write_config: Write
) -> None:
    write_config("build/gate.yaml", radii=[0.1])  # pytest does not recurse into `build`
    found = names(pytester, *paths, "--linearity-config", "build/gate.yaml")
    assert [name for name in found if "yaml" in name] == [
        "build/gate.yaml::radius[0.1]",
        "build/gate.yaml::linearity_radius",
    ]


def test_a_gate_outside_the_root_directory_has_a_name(
    pytester: pytest.Pytester, write_config: Write
) -> None:
    write_config(radii=[0.1])
    project = pytester.mkdir("project")
    (project / "pytest.ini").write_text("[pytest]\n")
    os.chdir(project)
    options = ["--linearity-config=../gate.yaml", "--rootdir", str(project)]
    assert names(pytester, *options) == [
        "../gate.yaml::radius[0.1]",
        "../gate.yaml::linearity_radius",
    ]
    pytester.runpytest(*options).assert_outcomes(passed=2)


def test_a_link_to_a_config_keeps_its_name(pytester: pytest.Pytester, write_config: Write) -> None:
    write_config("configs/current.yaml", radii=[0.1])
    (pytester.path / "gate.yaml").symlink_to("configs/current.yaml")
    expected = ["gate.yaml::radius[0.1]", "gate.yaml::linearity_radius"]
    assert names(pytester, "--linearity-config", "gate.yaml") == expected
    assert names(pytester, "--linearity-config", "gate.yaml", "gate.yaml") == expected


def test_without_autoloaded_plugins(
    pytester: pytest.Pytester, write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(radii=[0.1])
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    assert pytester.runpytest("--linearity-config", "gate.yaml").ret == 4
    options = ["-p", "pytest_linearity.plugin", "--linearity-config", "gate.yaml"]
    pytester.runpytest(*options).assert_outcomes(passed=2)


def test_no_plugin_no_option(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_own(): pass")
    assert pytester.runpytest("-p", "no:linearity").ret == 0
    result = pytester.runpytest("-p", "no:linearity", "--linearity-config", "gate.yaml")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*unrecognized arguments: --linearity-config*"])


class TestAfterAFailure:
    @pytest.fixture(autouse=True)
    def failing(self, fixed: type[FixedAnalysis], write_config: Write) -> None:
        fixed.figures = {0.1: (0.02, 0.99), 0.3: (0.3, 0.99), 1.0: (0.5, 0.99)}
        write_config()

    def test_exit_first(self, pytester: pytest.Pytester) -> None:
        result = pytester.runpytest("--linearity-config", "gate.yaml", "-x")
        result.assert_outcomes(passed=1, failed=1)
        assert result.ret == 1

    def test_max_fail(self, pytester: pytest.Pytester) -> None:
        result = pytester.runpytest("--linearity-config", "gate.yaml", "--maxfail=2")
        result.assert_outcomes(passed=1, failed=2)

    def test_last_failed(self, pytester: pytest.Pytester) -> None:
        pytester.runpytest("--linearity-config", "gate.yaml", "-k", "radius[1.0]")
        assert names(pytester, "--linearity-config", "gate.yaml", "--lf") == [
            "gate.yaml::radius[1.0]"
        ]

    def test_failed_first(self, pytester: pytest.Pytester) -> None:
        pytester.runpytest("--linearity-config", "gate.yaml", "-k", "radius[1.0]")
        first = names(pytester, "--linearity-config", "gate.yaml", "--ff")[0]
        assert first == "gate.yaml::radius[1.0]"


def test_measured_once_whatever_is_asked_for(
    pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    write_config()
    pytester.makepyfile(
        """
        def test_report(linearity_report): assert linearity_report.passed
        def test_radius(linearity_result): assert linearity_result.complies
        """
    )
    pytester.runpytest(".", "--linearity-config", "gate.yaml").assert_outcomes(passed=8)
    assert fixed.measured == 1


def test_collecting_measures_nothing(
    pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    write_config()
    result = pytester.runpytest("--linearity-config", "gate.yaml", "--collect-only")
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*relative error*")
    assert fixed.measured == 0
    assert not (pytester.path / "linearity_report.json").exists()
