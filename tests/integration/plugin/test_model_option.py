"""`--linearity-model`: a gate without a config."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

FEW = (
    *("--linearity-set=num_directions=2", "--linearity-set=precision=float32"),
    "--linearity-set=prompts=['1+1=', 'The sky is']",
)


@pytest.fixture
def model(pytester: pytest.Pytester, tiny_checkpoint: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, pytester.path / "saves" / "run"))


def test_gates_at_radii_of_its_own(pytester: pytest.Pytester, model: Path) -> None:
    result = pytester.runpytest("--linearity-model=saves/run", *FEW, "-v", "-rs")
    result.assert_outcomes(passed=3, skipped=2)
    result.stdout.fnmatch_lines(["linearity: saves/run, r = auto-1, auto-2, auto-3, auto-4"])
    result.stdout.fnmatch_lines(
        ["saves/run::radius?auto-1? PASSED*", "*", "saves/run::linearity_radius PASSED*"]
    )
    report = json.loads((pytester.path / "linearity_report.json").read_text())
    assert report["config"]["model_name_or_path"] == "saves/run"
    assert len(report["metrics"]) == 4


def test_keys_can_be_set(pytester: pytest.Pytester, model: Path) -> None:
    more = ("--linearity-set=radii=[0.01,100]", "--linearity-report=r.json")
    result = pytester.runpytest("--linearity-model=saves/run", *FEW, *more)
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["FAILED saves/run::radius?100.0? - mean relative error *"])
    assert json.loads((pytester.path / "r.json").read_text())["passed"] is False


def test_is_repeatable_beside_configs_and_tests(pytester: pytest.Pytester, model: Path) -> None:
    shutil.copytree(model, pytester.path / "other")
    (pytester.path / "gate.yaml").write_text("model_name_or_path: saves/run\nradii: [0.01]\n")
    pytester.makepyfile("def test_own(): pass")
    gates = ("--linearity-model=saves/run", "--linearity-model=other")
    gates += ("--linearity-config=gate.yaml",)
    own = "test_is_repeatable_beside_configs_and_tests.py"
    ids = pytester.runpytest(*gates, own, "--collect-only", "-q").outlines
    for start in ("saves/run::", "other::"):
        assert len([line for line in ids if line.startswith(start)]) == 5
    assert len([line for line in ids if line.startswith("gate.yaml::")]) == 2
    assert any(line.endswith("::test_own") for line in ids)


def test_one_id_runs_alone(pytester: pytest.Pytester, model: Path) -> None:
    result = pytester.runpytest("--linearity-model=saves/run", *FEW, "-k", "auto-1")
    result.assert_outcomes(passed=1, deselected=4)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absent", "*absent is no directory here*"),
        ("", "*model_name_or_path: is empty*"),
        ("saves", "*saves: has no config.json*"),
        ("saves/no-*", "*matches no directory*"),
    ],
)
def test_a_model_that_cannot_be_used(
    pytester: pytest.Pytester, model: Path, name: str, words: str
) -> None:
    result = pytester.runpytest(f"--linearity-model={name}", *FEW)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {words}"])
    assert "Traceback" not in result.stderr.str() + result.stdout.str()


def test_a_key_that_is_none(pytester: pytest.Pytester, model: Path) -> None:
    result = pytester.runpytest("--linearity-model=saves/run", "--linearity-set=nonsense=1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: override 'nonsense=1': there is no key 'nonsense'*"])


def test_several_write_a_report_each(pytester: pytest.Pytester, model: Path) -> None:
    shutil.copytree(model, pytester.path / "other.v1")
    gates = ("--linearity-model=saves/run", "--linearity-model=other.v1")
    pytester.runpytest(*gates, *FEW, "--linearity-set=radii=0.01").assert_outcomes(passed=4)
    reports = sorted(path.name for path in pytester.path.glob("*.json"))
    assert reports == ["linearity_report-other.v1.json", "linearity_report-saves-run.json"]
    for path in reports:
        (pytester.path / path).unlink()
    # A pattern names several, too.
    shutil.copytree(model, pytester.path / "saves" / "next")
    result = pytester.runpytest("--linearity-model=saves/*", *FEW, "--linearity-set=radii=0.01")
    result.assert_outcomes(passed=4)
    reports = sorted(path.name for path in pytester.path.glob("*.json"))
    assert reports == ["linearity_report-next.json", "linearity_report-run.json"]
