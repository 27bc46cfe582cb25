"""Several scopes of one run, under pytest and on the command line: groups, reports, sharing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from junitparser import JUnitXml

from pytest_linearity.cli import main
from pytest_linearity.numerics.measurement.simultaneous import run_jointly
from pytest_linearity.run import subject as subject_module
from tests.support.fixtures import Write

GATE = "--linearity-config=gate.yaml"
SCOPES = ("full", "attention", "last_blocks:1")
TESTS = ("radius[0.01]", "radius[0.1]", "linearity_radius")
FREE: dict[str, Any] = {"relerr_threshold": 10, "cos_threshold": -1}


@pytest.fixture
def gate(real_config: Write) -> Write:
    """Writes a gate of three scopes that pass."""

    def write(name: str = "gate.yaml", **keys: Any) -> Path:
        return real_config(name, **{"param_scopes": list(SCOPES), **FREE, **keys})

    return write


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The checkpoints that are loaded."""
    loaded: list[str] = []
    original = subject_module.load_checkpoint

    def load(config: Any, opened: Any) -> Any:
        loaded.append(config.checkpoint)
        return original(config, opened)

    monkeypatch.setattr(subject_module, "load_checkpoint", load)
    return loaded


@pytest.fixture
def jointly(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of how many scopes each run of the engine is."""
    sizes: list[int] = []

    def run(jobs: Any) -> None:
        sizes.append(len(jobs))
        run_jointly(jobs)

    monkeypatch.setattr("pytest_linearity.numerics.measurement.simultaneous.run_jointly", run)
    return sizes


def report(pytester: pytest.Pytester, label: str) -> dict[str, Any]:
    text = (pytester.path / f"linearity_report-{label}.json").read_text()
    found: dict[str, Any] = json.loads(text)
    return found


def reports(directory: Path) -> set[str]:
    return {path.name for path in directory.glob("*.json")}


def test_each_scope_has_its_tests_report_and_row(
    pytester: pytest.Pytester, gate: Write, loads: list[str], jointly: list[int]
) -> None:
    gate()
    result = pytester.runpytest(
        GATE, "-v", "--junitxml=j.xml", "--linearity-markdown=s.md", "--linearity-html=s.html"
    )
    result.assert_outcomes(passed=9)
    result.stdout.fnmatch_lines(["linearity: gate.yaml, 3 scopes, r = 0.01, 0.1"])
    for scope in SCOPES:
        for name in TESTS:
            assert f"gate.yaml::{scope}::{name}" in result.stdout.str()
    result.stdout.fnmatch_lines(
        [
            "gate.yaml: full",
            "gate.yaml: attention",
            "gate.yaml: last_blocks:1",
            "gate.yaml: 3 scopes",
            "  full * 100.0% *",
            "  attention *%*",
            "  last_blocks:1 *%*",
        ]
    )
    # One checkpoint loaded, one pass over its weights for the three of them.
    assert len(loads) == 1
    assert jointly == [3]
    assert reports(pytester.path) == {
        "linearity_report-full.json",
        "linearity_report-attention.json",
        "linearity_report-last_blocks-1.json",
    }
    for scope, label in zip(SCOPES, ("full", "attention", "last_blocks-1"), strict=True):
        found = report(pytester, label)
        assert found["scope"]["param_scope"] == found["config"]["param_scope"] == scope
        assert found["environment"]["scopes_at_once"] == list(SCOPES)
    cases = [(case.classname, case.name) for s in JUnitXml.fromfile("j.xml") for case in s]
    assert cases == [(f"gate.yaml.{scope}", name) for scope in SCOPES for name in TESTS]
    assert "all 3 scopes pass" in (pytester.path / "s.md").read_text()
    assert "gate.yaml: scopes" in (pytester.path / "s.html").read_text()


def test_figures_are_those_of_each_scope_alone(pytester: pytest.Pytester, gate: Write) -> None:
    gate(precision="float64")
    pytester.runpytest(GATE).assert_outcomes(passed=9)
    gate("one.yaml", param_scopes=None, param_scope="attention", precision="float64")
    pytester.runpytest("--linearity-config=one.yaml").assert_outcomes(passed=3)
    together, alone = (
        report(pytester, "attention"),
        json.loads((pytester.path / "linearity_report.json").read_text()),
    )
    assert together["config"] == alone["config"]
    assert together["scope"] == alone["scope"]
    for radius, pairs in alone["pairs"].items():
        for metric, rows in pairs.items():
            for ours, theirs in zip(together["pairs"][radius][metric], rows, strict=True):
                assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)


def test_one_scope_and_one_test_by_id_and_by_keyword(
    pytester: pytest.Pytester, gate: Write, jointly: list[int]
) -> None:
    gate()
    pytester.runpytest(GATE, "gate.yaml::last_blocks:1::radius[0.1]").assert_outcomes(passed=1)
    assert reports(pytester.path) == {"linearity_report-last_blocks-1.json"}
    # Only what tests are going to ask for is measured along.
    pytester.runpytest(GATE, "-k", "attention or full").assert_outcomes(passed=6, deselected=3)
    assert jointly == [2]


def test_groups_of_checkpoints_and_scopes(
    pytester: pytest.Pytester,
    gate: Write,
    tiny_checkpoint: Path,
    base_checkpoint: Path,
    loads: list[str],
) -> None:
    from tests.support.checkpoints import character_tokenizer

    character_tokenizer().save_pretrained(pytester.path / "tokenizer")
    gate(
        model_name_or_path=[str(tiny_checkpoint), str(base_checkpoint)],
        tokenizer_name_or_path="tokenizer",
        param_scopes=["full", "mlp"],
        radii=[0.1],
    )
    result = pytester.runpytest(GATE, "--linearity-plot=p.png")
    result.assert_outcomes(passed=8)
    result.stdout.fnmatch_lines(["linearity: gate.yaml, 2 checkpoints, 2 scopes, r = 0.1"])
    for heading in (
        "full: 2 checkpoints",
        "mlp: 2 checkpoints",
        "tiny: 2 scopes",
        "base: 2 scopes",
    ):
        assert f"gate.yaml: {heading}" in result.outlines
    assert loads == [str(tiny_checkpoint), str(base_checkpoint)]
    assert reports(pytester.path) == {
        f"linearity_report-{name}-{scope}.json"
        for name in ("tiny", "base")
        for scope in ("full", "mlp")
    }
    names = {path.name for path in pytester.path.glob("*.png")}
    assert names >= {"p-full.png", "p-mlp.png", "p-tiny.png", "p-base.png", "p-tiny-full.png"}


def test_a_scope_that_is_not_there_fails_its_own_tests(
    pytester: pytest.Pytester, gate: Write, jointly: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    gate(param_scopes=["full", "biases", "mlp"])
    result = pytester.runpytest(GATE, "--linearity-markdown=s.md")
    result.assert_outcomes(passed=6, failed=3)
    assert result.ret == 1
    assert jointly == [2]
    message = "param_scope: 'biases' matches no parameter of LlamaForCausalLM"
    result.stdout.fnmatch_lines([f"FAILED gate.yaml::biases::linearity_radius - {message}*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.fnmatch_lines(["gate.yaml: 2 scopes"])
    assert "1 of 3 scopes fail" in (pytester.path / "s.md").read_text()
    assert reports(pytester.path) == {"linearity_report-full.json", "linearity_report-mlp.json"}


def test_where_no_scope_is_there_the_run_is_a_usage_error(
    pytester: pytest.Pytester, gate: Write
) -> None:
    gate(param_scopes=["biases", "regex:nothing"])
    result = pytester.runpytest(GATE)
    assert result.ret == 4
    (line,) = [line for line in result.errlines if line]
    assert "param_scope: 'biases' matches no parameter" in line


def test_a_checkpoint_that_cannot_be_read_is_a_usage_error(
    pytester: pytest.Pytester, gate: Write
) -> None:
    (pytester.path / "empty").mkdir()
    gate(model_name_or_path="empty")
    result = pytester.runpytest(GATE)
    assert result.ret == 4
    (line,) = [line for line in result.errlines if line]
    assert "empty" in line


def test_own_tests_run_once_for_each_scope(
    pytester: pytest.Pytester, gate: Write, loads: list[str]
) -> None:
    gate(param_scopes=["full", "mlp"])
    pytester.makepyfile(
        """
        def test_scope(linearity_config, linearity_report, linearity_directions, request):
            scope = request.node.callspec.id
            assert linearity_config.param_scope == linearity_directions.scope == scope
            assert linearity_report.scope["param_scope"] == scope

        def test_model(linearity_model, linearity_result):
            assert linearity_result.complies
        """
    )
    result = pytester.runpytest(GATE, "test_own_tests_run_once_for_each_scope.py", "-v")
    result.assert_outcomes(passed=2 + 4 + 6)
    assert "::test_scope[mlp]" in result.stdout.str()
    assert "::test_model[full-0.01]" in result.stdout.str()
    assert len(loads) == 1


def test_cached_scopes_are_not_measured_along(
    pytester: pytest.Pytester, gate: Write, jointly: list[int], real_config: Write
) -> None:
    real_config("one.yaml", param_scope="attention", **FREE)
    pytester.runpytest("--linearity-config=one.yaml", "--linearity-cache")
    gate()
    result = pytester.runpytest(GATE, "--linearity-cache")
    result.assert_outcomes(passed=9)
    assert jointly == [2]
    assert "reused from the cache" in result.stdout.str()
    pytester.runpytest(GATE, "--linearity-cache").assert_outcomes(passed=9)
    assert jointly == [2]


def test_each_scope_has_its_baseline(pytester: pytest.Pytester, gate: Write) -> None:
    gate(param_scopes=["full", "mlp"])
    create = ("--linearity-baseline=before/", "--linearity-baseline-missing=create")
    pytester.runpytest(GATE, *create)
    assert reports(pytester.path / "before") == {
        "linearity_report-full.json",
        "linearity_report-mlp.json",
    }
    result = pytester.runpytest(GATE, "--linearity-baseline=before/")
    result.assert_outcomes(passed=12)
    (pytester.path / "before" / "linearity_report-mlp.json").write_text(
        (pytester.path / "before" / "linearity_report-full.json").read_text()
    )
    result = pytester.runpytest(GATE, "--linearity-baseline=before/")
    assert result.ret == 4
    assert "param_scope" in result.stderr.str()


def test_on_the_command_line(
    pytester: pytest.Pytester,
    gate: Write,
    loads: list[str],
    jointly: list[int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    gate(param_scopes=["full", "biases", "mlp"])
    assert main(["analyze-logits", "gate.yaml"]) == 4
    out, err = capsys.readouterr()
    assert "gate.yaml: 2 scopes" in out
    assert err.startswith("error: param_scope: 'biases' matches no parameter")
    assert len(loads) == 1
    assert jointly == [2]
    assert main(["analyze-logits", "gate.yaml", "--set", "param_scopes=[full, mlp]"]) == 0
    assert main(["analyze-logits", "gate.yaml", "--set", "param_scopes=[biases]"]) == 4


def test_in_python_a_config_of_several_scopes_says_what_to_do(
    pytester: pytest.Pytester, gate: Write
) -> None:
    from pytest_linearity import analyze, load_config
    from pytest_linearity.errors import ConfigError

    with pytest.raises(ConfigError, match=r"take each of `runs_of\(config\)`"):
        analyze(load_config(gate()))


def test_models_are_let_go_of_after_the_last_scope(
    pytester: pytest.Pytester, gate: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_linearity.run.run import Run

    released: list[str | None] = []
    original: Callable[[Run], bool] = Run.release

    def release(run: Run) -> bool:
        found = original(run)
        if found:
            released.append(run.scope)
        return found

    monkeypatch.setattr(Run, "release", release)
    gate()
    pytester.runpytest(GATE).assert_outcomes(passed=9)
    assert released == list(SCOPES)
