"""pytest-xdist: measured once by one worker, told once by the controller, the same as without."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from junitparser import JUnitXml

from tests.support.fakes import FAKE
from tests.support.fixtures import Run, Write
from tests.support.junit import properties
from tests.support.processes import heed_sigint

GATE = "--linearity-config=gate.yaml"
MODES = ("load", "loadscope", "loadfile", "loadgroup", "worksteal", "each")


@pytest.fixture
def gate(pytester: pytest.Pytester, write_config: Write) -> Write:
    """Writes a gate whose checkpoints are fakes: their names say what becomes of them."""
    pytester.makeconftest(FAKE)
    return write_config


def measured(pytester: pytest.Pytester) -> list[str]:
    """Which checkpoint was measured, once for each time."""
    return sorted(path.name.split("-")[1] for path in pytester.path.glob("measured-*"))


@pytest.fixture
def run(run_workers: Run) -> Run:
    """Runs pytest without a cache."""
    return lambda *arguments: run_workers(*arguments, "-p", "no:cacheprovider")


@pytest.fixture
def run_whole(pytester: pytest.Pytester) -> Run:
    """The same, all of it in processes of their own."""
    return lambda *arguments: pytester.runpytest_subprocess(
        *arguments, "-p", "no:cacheprovider", "-p", "no:hypothesispytest"
    )


@pytest.mark.parametrize("mode", MODES)
def test_measured_once_in_every_mode(
    mode: str, pytester: pytest.Pytester, gate: Write, run: Run
) -> None:
    gate(model_name_or_path=["one", "two"], radii=[0.1, 0.3, 1.0])
    pytester.makepyfile("def test_own(linearity_report): assert linearity_report.passed is False")
    result = run(".", GATE, "-n2", "--dist", mode, "--junitxml=junit.xml", "-rN")
    times = 2 if mode == "each" else 1
    result.assert_outcomes(passed=6 * times, failed=4 * times)
    assert result.ret == 1
    assert measured(pytester) == ["one", "two"]
    assert result.outlines.count("linearity: gate.yaml, 2 checkpoints, r = 0.1, 0.3, 1.0") == 1
    for name in ("one", "two"):
        assert result.outlines.count(f"gate.yaml: {name}") == 1
        assert result.outlines.count(f"report: linearity_report-{name}.json") == 1
        report = json.loads((pytester.path / f"linearity_report-{name}.json").read_text())
        assert report["linearity_radius"] == 0.3
    assert result.outlines.count("gate.yaml: 2 checkpoints") == 1
    result.stdout.fnmatch_lines(["mean relative error 0.31 > 0.20 at r=1.0 (linearity radius 0.3)"])
    cases = [
        {item.name: item.value for item in properties(case)}
        for suite in JUnitXml.fromfile(str(pytester.path / "junit.xml"))
        for case in suite
        if case.name == "radius[0.3]"
    ]
    assert [case["mean_relative_error"] for case in cases] == ["0.06"] * 2 * times
    assert not result.stderr.str()


def figures(directory: Path) -> tuple[dict[str, Any], set[tuple[Any, ...]]]:
    """The report but for what depends on the clock, and all JUnit properties."""
    report = json.loads((directory / "linearity_report.json").read_text())
    for key in ("seconds", "measured", "peak_memory_bytes"):
        report["environment"].pop(key)
    cases = {
        (case.classname, case.name, item.name, item.value)
        for suite in JUnitXml.fromfile(str(directory / "junit.xml"))
        for case in suite
        for item in properties(case)
    }
    return report, cases


def test_the_result_equals_the_run_without_it(
    pytester: pytest.Pytester, real_config: Write, run: Run
) -> None:
    real_config(radii=[0.01, 0.1, 30.0])
    pytester.makepyfile(
        """
        import torch

        def test_model(linearity_model):
            assert not linearity_model.training

        def test_measurement(linearity_measurement):
            errors = linearity_measurement.relative_error
            assert errors.dtype == torch.float64
            print("ERRORS", [value.hex() for value in errors.flatten().tolist()])
        """
    )
    found = []
    options = [".", GATE, "--junitxml=junit.xml", "-rP"]
    for distribution in ("-n0", "-n2"):
        result = run(*options, distribution)
        result.assert_outcomes(passed=4, failed=2)
        [errors] = [line for line in result.outlines if line.startswith("ERRORS")]
        table = [line for line in result.outlines if " ± " in line]
        found.append((*figures(pytester.path), errors, table))
        (pytester.path / "linearity_report.json").unlink()
    assert found[0] == found[1]


class TestMistakes:
    """One clear message and pytest's exit code, whichever process finds it."""

    def refused(self, result: pytest.RunResult, message: str) -> None:
        assert result.ret == 4
        assert [line for line in result.errlines if line.strip()] == [f"ERROR: {message}"]
        shown = result.stdout.str()
        for soup in ("Traceback", "INTERNALERROR", "crashed", "Interrupted", "Exit", "no tests"):
            assert soup not in shown.replace("no tests ran", "")

    def test_in_a_key(self, pytester: pytest.Pytester, gate: Write, run: Run) -> None:
        gate(radii=[])
        result = run(GATE, "-n2")
        assert result.ret == 4
        assert "created" not in result.stdout.str()
        result.stderr.fnmatch_lines(["ERROR: gate.yaml: radii: *"])

    def test_in_the_checkpoint(
        self, pytester: pytest.Pytester, gate: Write, run_whole: Run
    ) -> None:
        gate(model_name_or_path="broken")
        self.refused(run_whole(GATE, "-n2"), "broken: it is broken")
        assert measured(pytester) == ["broken"]
        assert not list(pytester.path.glob("*.json"))

    def test_in_the_config_of_the_fixtures(
        self, pytester: pytest.Pytester, gate: Write, run: Run
    ) -> None:
        pytester.makepyfile("def test_own(linearity_report): pass")
        result = run("-o", "linearity_config=none.yaml", "-n2")
        self.refused(result, "none.yaml: there is no such file")

    def test_one_of_several_fails_its_own_tests(
        self, pytester: pytest.Pytester, gate: Write, run: Run
    ) -> None:
        gate(model_name_or_path=["one", "broken"], radii=[0.1, 0.3])
        result = run(GATE, "-n2")
        result.assert_outcomes(passed=3, failed=3)
        assert result.outlines.count("broken: it is broken") == 3
        assert measured(pytester) == ["broken", "one"]

    def test_a_bug_is_not_tried_again(
        self, pytester: pytest.Pytester, gate: Write, run: Run
    ) -> None:
        gate(model_name_or_path="buggy")
        result = run(GATE, "-n2")
        result.assert_outcomes(failed=4)
        assert measured(pytester) == ["buggy"]
        shown = result.stdout.str()
        assert shown.count("E           ValueError: shapes do not match") == 1
        assert "measuring failed before: ValueError('shapes do not match')" in shown


def test_a_worker_that_is_killed_while_it_measures_hangs_nobody(
    pytester: pytest.Pytester, gate: Write, run_whole: Run
) -> None:
    gate(model_name_or_path=["deadly", "one"], radii=[0.1])
    result = run_whole(GATE, "-n2", "--dist=loadscope")
    assert result.ret == 1
    assert measured(pytester) == ["deadly", "one"]
    result.stdout.fnmatch_lines(["*worker 'gw?' crashed while running 'gate.yaml::deadly::*"])
    result.stdout.fnmatch_lines(["gate.yaml: deadly: the process that measured was killed*"])
    result.stdout.fnmatch_lines(["report: linearity_report-one.json"])


def test_control_c_ends_those_that_measure_and_those_that_wait(
    pytester: pytest.Pytester, gate: Write
) -> None:
    gate(model_name_or_path="endless")
    command = [sys.executable, "-m", "pytest", GATE, "-n2", "-p", "no:cacheprovider"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(pytester.path)},
        preexec_fn=heed_sigint,
    ) as process:
        deadline = time.monotonic() + 120
        while not measured(pytester) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        try:
            shown, _ = process.communicate(timeout=60)
        finally:
            if process.poll() is None:  # not to wait for it forever
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 2, shown
    assert measured(pytester) == ["endless"]
    assert not list(pytester.path.glob("*.json"))
    assert not list(pytester.path.glob("pytest-linearity-*"))  # nothing shared is left


def said_once(result: pytest.RunResult) -> bool:
    """Whether a misspelt key was warned about by one process."""
    return result.stdout.str().count("ConfigWarning: gate.yaml: ") == 1


def test_warnings_are_said_once(pytester: pytest.Pytester, gate: Write, run: Run) -> None:
    gate(cos_treshold=0.9, radii=[0.1])
    pytester.makepyfile("def test_own(linearity_report): pass")
    result = run(".", GATE, "-n2")
    assert result.ret == 0
    assert said_once(result)


def test_the_fixtures_alone(pytester: pytest.Pytester, gate: Write, run: Run) -> None:
    gate(model_name_or_path="one", radii=[0.1, 0.3], cos_treshold=0.9)
    pytester.makepyfile("def test_own(linearity_result): assert linearity_result.complies")
    options = ["-o", "linearity_config=gate.yaml", "-n2", "--linearity-report=out.json"]
    result = run(*options)
    result.assert_outcomes(passed=2, warnings=1)
    assert result.ret == 0
    assert said_once(result)
    assert measured(pytester) == ["one"]
    result.stdout.fnmatch_lines(["*linearity radius 0.3*", "report: out.json"])
    assert json.loads((pytester.path / "out.json").read_text())["passed"] is True


def test_a_project_that_needs_no_figures_measures_nothing(
    pytester: pytest.Pytester, gate: Write, run: Run
) -> None:
    gate(model_name_or_path="one")
    pytester.makepyfile("def test_own(linearity_config): pass")
    run("-o", "linearity_config=gate.yaml", "-n2").assert_outcomes(passed=1)
    assert not measured(pytester)
