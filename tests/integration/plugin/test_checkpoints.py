"""Several checkpoints of one config under pytest: groups of tests, reports, fixtures, memory."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_linearity.errors import CheckpointError, ConfigError, LinearityError, MeasurementError
from tests.support.checkpoints import tiny_llama
from tests.support.fixed import FixedAnalysis
from tests.support.fixtures import Write

GATE = "--linearity-config=gate.yaml"
TESTS = ("radius[0.1]", "radius[1.0]", "linearity_radius")


@pytest.fixture
def series(pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]) -> None:
    """A gate over the checkpoints 9, 10 and 100; that of step 10 cannot be loaded."""
    for step in (9, 10, 100):
        (pytester.path / "run" / f"checkpoint-{step}").mkdir(parents=True)
    fixed.figures = {0.1: (0.02, 0.99), 1.0: (0.15, 0.97)}
    write_config(model_name_or_path="run/checkpoint-*", radii=[0.1, 1.0])


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch, fixed: type[FixedAnalysis]) -> Callable[..., None]:
    """Lets one checkpoint fail."""

    def let(name: str, error: LinearityError) -> None:
        found = fixed.found

        def find(self: FixedAnalysis) -> Any:
            if self.config.label == name:
                raise error
            return found(self)

        monkeypatch.setattr(fixed, "found", find)

    return let


def ids(pytester: pytest.Pytester, *arguments: str) -> list[str]:
    result = pytester.runpytest(*arguments, "--collect-only", "-q")
    return [line for line in result.outlines if "::" in line]


@pytest.mark.usefixtures("series")
class TestGroups:
    def test_each_checkpoint_has_its_tests(self, pytester: pytest.Pytester) -> None:
        assert ids(pytester, GATE) == [
            f"gate.yaml::checkpoint-{step}::{test}" for step in (9, 10, 100) for test in TESTS
        ]

    def test_one_checkpoint_and_one_test_by_id(self, pytester: pytest.Pytester) -> None:
        one = "gate.yaml::checkpoint-10"
        assert ids(pytester, GATE, one) == [f"{one}::{test}" for test in TESTS]
        assert ids(pytester, GATE, f"{one}::radius[1.0]") == [f"{one}::radius[1.0]"]

    def test_by_keyword_only_what_is_needed_is_measured(
        self, pytester: pytest.Pytester, fixed: type[FixedAnalysis]
    ) -> None:
        result = pytester.runpytest(GATE, "-k", "checkpoint-100 and radius")
        result.assert_outcomes(passed=3, deselected=6)
        assert fixed.measured == 1
        assert [path.name for path in pytester.path.glob("*.json")] == [
            "linearity_report-checkpoint-100.json"
        ]

    def test_a_plain_name_keeps_its_ids(
        self, pytester: pytest.Pytester, write_config: Write
    ) -> None:
        write_config(model_name_or_path="run/checkpoint-9", radii=[0.1, 1.0])
        assert ids(pytester, GATE) == [f"gate.yaml::{test}" for test in TESTS]

    def test_a_pattern_of_one_is_a_group(
        self, pytester: pytest.Pytester, write_config: Write
    ) -> None:
        write_config(model_name_or_path="run/checkpoint-9*", radii=[0.1])
        assert ids(pytester, GATE) == [
            "gate.yaml::checkpoint-9::radius[0.1]",
            "gate.yaml::checkpoint-9::linearity_radius",
        ]

    def test_header_tables_and_junit_tell_them_apart(self, pytester: pytest.Pytester) -> None:
        from junitparser import JUnitXml

        result = pytester.runpytest(GATE, "--junitxml=junit.xml")
        result.assert_outcomes(passed=9)
        result.stdout.fnmatch_lines(["linearity: gate.yaml, 3 checkpoints, r = 0.1, 1.0"])
        result.stdout.fnmatch_lines(
            [
                "gate.yaml: checkpoint-9",
                "run/checkpoint-9: *",
                "report: linearity_report-checkpoint-9.json",
                "gate.yaml: checkpoint-10",
                "gate.yaml: checkpoint-100",
                "gate.yaml: 3 checkpoints",
                " *checkpoint-9 *yes *0.0200 *",
                " *checkpoint-10 *yes *0.0200 *",
                " *checkpoint-100 *yes *0.0200 *",
            ]
        )
        [suite] = JUnitXml.fromfile(str(pytester.path / "junit.xml"))
        names = {(case.classname, case.name) for case in suite}
        assert len(names) == 9
        assert ("gate.yaml.checkpoint-10", "radius[0.1]") in names

    def test_each_has_its_report(self, pytester: pytest.Pytester) -> None:
        pytester.runpytest(GATE, "--linearity-report=out/x.json")
        for step in (9, 10, 100):
            report = json.loads((pytester.path / "out" / f"x-checkpoint-{step}.json").read_text())
            assert report["checkpoint"]["path"] == f"run/checkpoint-{step}"
            assert report["config"]["model_name_or_path"] == f"run/checkpoint-{step}"
        assert len(list(pytester.path.rglob("*.json"))) == 3

    def test_two_configs_of_the_same_checkpoints(
        self, pytester: pytest.Pytester, write_config: Write
    ) -> None:
        write_config("other.yaml", model_name_or_path=["run/checkpoint-9"], radii=[0.1])
        pytester.runpytest(GATE, "--linearity-config=other.yaml").assert_outcomes(passed=11)
        assert sorted(path.name for path in pytester.path.glob("*-9.json")) == [
            "linearity_report-gate-checkpoint-9.json",
            "linearity_report-other-checkpoint-9.json",
        ]


@pytest.mark.usefixtures("series")
class TestOneThatCannotBeMeasured:
    @pytest.mark.parametrize("kind", [CheckpointError, MeasurementError])
    def test_fails_its_own_tests(
        self,
        kind: type[LinearityError],
        pytester: pytest.Pytester,
        fail: Callable[..., None],
        fixed: type[FixedAnalysis],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("COLUMNS", "120")
        fail("checkpoint-10", kind("checkpoint-10: it is broken"))
        result = pytester.runpytest(GATE)
        result.assert_outcomes(passed=6, failed=3)
        assert result.ret == 1
        assert fixed.measured == 3
        assert result.outlines.count("checkpoint-10: it is broken") == 3
        result.stdout.fnmatch_lines(
            ["FAILED gate.yaml::checkpoint-10::radius?0.1? - checkpoint-10: it is broken"]
        )
        result.stdout.fnmatch_lines(["gate.yaml: 2 checkpoints"])
        result.stdout.no_fnmatch_line("*Traceback*")
        result.stdout.no_fnmatch_line("*.py*")
        assert len(list(pytester.path.glob("*.json"))) == 2

    def test_a_mistake_in_the_config_ends_the_run(
        self, pytester: pytest.Pytester, fail: Callable[..., None]
    ) -> None:
        fail("checkpoint-10", ConfigError("param_scope: it has no such block"))
        result = pytester.runpytest(GATE)
        assert result.ret == 4
        result.stderr.fnmatch_lines(["ERROR: param_scope: it has no such block"])
        assert len(list(pytester.path.glob("*.json"))) == 1

    def test_fails_the_tests_that_use_its_fixtures(
        self, pytester: pytest.Pytester, fail: Callable[..., None]
    ) -> None:
        fail("checkpoint-10", CheckpointError("checkpoint-10: it is broken"))
        pytester.makepyfile("def test_own(linearity_report): assert linearity_report.passed")
        result = pytester.runpytest(".", GATE)
        result.assert_outcomes(passed=8, failed=3, errors=1)
        result.stdout.fnmatch_lines(["checkpoint-10: it is broken"])
        result.stdout.no_fnmatch_line("*Traceback*")


def test_a_checkpoint_that_is_not_there_fails_its_own_tests(
    pytester: pytest.Pytester, write_config: Write
) -> None:
    (pytester.path / "empty").mkdir()
    write_config(model_name_or_path=["empty", "saves/run/gone"], radii=[0.1])
    result = pytester.runpytest(GATE)
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(["*empty: has no config.json", "*gone: there is no such directory"])


@pytest.mark.parametrize(
    ("named", "mentioned"),
    [
        ("run/step-*", "'run/step-*' matches no directory"),
        ([], "is an empty list"),
        (["a", "a"], "'a' is repeated"),
        (["a", "./a"], "named twice"),
    ],
)
def test_checkpoints_that_cannot_be_named(
    named: object, mentioned: str, pytester: pytest.Pytester, write_config: Write
) -> None:
    (pytester.path / "a").mkdir()
    write_config(model_name_or_path=named)
    result = pytester.runpytest(GATE)
    assert result.ret == 4
    [line] = [line for line in result.errlines if line]
    assert line.startswith("ERROR: gate.yaml: model_name_or_path: ")
    assert mentioned in line


@pytest.mark.usefixtures("series")
class TestFixtures:
    def test_are_parametrised(self, pytester: pytest.Pytester, fixed: type[FixedAnalysis]) -> None:
        pytester.makepyfile(
            """
            def test_report(linearity_report, linearity_config):
                assert linearity_report.checkpoint["path"] == linearity_config.model_name_or_path

            def test_result(linearity_result): pass
            """
        )
        found = {name.partition("::")[2] for name in ids(pytester, ".", GATE) if ".py" in name}
        assert found == {
            *(f"test_report[checkpoint-{step}]" for step in (9, 10, 100)),
            *(f"test_result[checkpoint-{step}-{r}]" for step in (9, 10, 100) for r in (0.1, 1.0)),
        }
        pytester.runpytest(".", GATE).assert_outcomes(passed=18)
        assert fixed.measured == 3

    def test_of_two_configs_name_both(self, pytester: pytest.Pytester, write_config: Write) -> None:
        write_config("plain.yaml", radii=[0.1])
        pytester.makepyfile("def test_own(linearity_report): pass")
        found = ids(pytester, ".", GATE, "--linearity-config=plain.yaml", "-k", "own")
        assert sorted(name.partition("::")[2] for name in found) == [
            "test_own[gate.yaml-checkpoint-100]",
            "test_own[gate.yaml-checkpoint-10]",
            "test_own[gate.yaml-checkpoint-9]",
            "test_own[plain.yaml]",
        ]

    def test_of_the_ini_file(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile("def test_own(linearity_report): pass")
        result = pytester.runpytest("-o", "linearity_config=gate.yaml")
        result.assert_outcomes(passed=3)
        result.stdout.fnmatch_lines(["gate.yaml: 3 checkpoints"])
        assert not list(pytester.path.glob("*.json"))


@pytest.fixture(scope="module")
def saves(tmp_path_factory: pytest.TempPathFactory, imported: None) -> Path:
    """Three checkpoints that can be loaded."""
    directory = tmp_path_factory.mktemp("saves")
    for step in (1, 2, 3):
        tiny_llama(directory / f"checkpoint-{step}", seed=step)
    return directory


class TestMemory:
    """Which models are alive when another checkpoint is loaded."""

    @pytest.fixture(autouse=True)
    def on_purpose(self) -> Iterator[None]:
        """Models go because they are let go, not because Python happens to look for garbage."""
        gc.disable()
        yield
        gc.enable()

    @pytest.fixture
    def alive(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """How many models there are, itself included, whenever one has been loaded."""
        from pytest_linearity.run import subject

        models: list[weakref.ref[Any]] = []
        counts: list[int] = []
        load = subject.load_checkpoint

        def spy(*arguments: Any) -> Any:
            checkpoint = load(*arguments)
            models.append(weakref.ref(checkpoint.model))
            counts.append(sum(model() is not None for model in models))
            return checkpoint

        monkeypatch.setattr(subject, "load_checkpoint", spy)
        return counts

    @pytest.fixture
    def gate(self, real_config: Write, saves: Path) -> None:
        real_config(model_name_or_path=f"{saves}/*", radii=[0.01], num_directions=1)

    @pytest.mark.usefixtures("gate")
    def test_a_measured_model_is_let_go(self, pytester: pytest.Pytester, alive: list[int]) -> None:
        pytester.runpytest(GATE).assert_outcomes(passed=6)
        assert alive == [1, 1, 1]

    @pytest.mark.usefixtures("gate")
    def test_a_model_that_is_needed_stays_and_is_loaded_once(
        self, pytester: pytest.Pytester, alive: list[int]
    ) -> None:
        pytester.makepyfile("def test_own(linearity_model): assert not linearity_model.training")
        arguments = ("gate.yaml", "test_a_model_that_is_needed_stays_and_is_loaded_once.py")
        pytester.runpytest(GATE, *arguments).assert_outcomes(passed=9)
        assert alive == [1, 2, 3]  # the gate comes first, its models are asked for later

    @pytest.mark.usefixtures("gate")
    def test_tests_that_measure_nothing_have_one_model_at_a_time(
        self, pytester: pytest.Pytester, alive: list[int]
    ) -> None:
        pytester.makepyfile(
            """
            def test_one(linearity_model): pass
            def test_two(linearity_model, linearity_probes): pass
            """
        )
        pytester.runpytest("-o", "linearity_config=gate.yaml").assert_outcomes(passed=6)
        assert alive == [1, 1, 1]


class TestCommandLine:
    def test_measures_and_shows_all(
        self,
        pytester: pytest.Pytester,
        series: None,
        fail: Callable[..., None],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        from pytest_linearity.cli import main

        fail("checkpoint-10", CheckpointError("checkpoint-10: it is broken"))
        assert main(["analyze-logits", "gate.yaml"]) == 4
        shown, errors = capsys.readouterr()
        assert errors == "error: checkpoint-10: it is broken\n"
        for line in (
            "gate.yaml: checkpoint-9\n",
            "report: linearity_report-checkpoint-100.json\n",
            "gate.yaml: 2 checkpoints\n",
        ):
            assert line in shown
        assert len(list(pytester.path.glob("*.json"))) == 2
