"""The command line outside pytest."""

from __future__ import annotations

import json

import pytest

from tests.support.fixed import FixedAnalysis
from tests.support.fixtures import Call, Write


def test_measures_and_writes_the_report(
    call: Call, pytester: pytest.Pytester, real_config: Write
) -> None:
    real_config(radii=[0.01, 0.1])
    code, shown, errors = call("analyze-logits", "gate.yaml")
    assert code == 0
    assert not errors
    report = json.loads((pytester.path / "linearity_report.json").read_text())
    assert report["linearity_radius"] == 0.1
    assert f"{report['metrics']['0.1']['mean_relative_error']:.4f} ±" in shown
    assert "linearity radius 0.1" in shown
    assert "report: linearity_report.json" in shown


def test_does_not_judge(
    call: Call, pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    write_config()
    code, shown, _ = call("analyze-logits", "gate.yaml", "--report", "out/x.json")
    assert code == 0
    assert "no\n" in shown
    report = json.loads((pytester.path / "out" / "x.json").read_text())
    assert report["passed"] is False
    assert not (pytester.path / "linearity_report.json").exists()


def test_a_key_set_on_the_command_line(
    call: Call, pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    write_config()
    code, _, _ = call("analyze-logits", "gate.yaml", "--set", "radii=[0.1]", "--set", "seed=7")
    assert code == 0
    report = json.loads((pytester.path / "linearity_report.json").read_text())
    assert list(report["metrics"]) == ["0.1"]
    assert report["config"]["seed"] == 7


@pytest.mark.parametrize(
    ("keys", "arguments", "mentioned"),
    [
        ({}, ["none.yaml"], "none.yaml: there is no such file"),
        ({"radii": []}, ["gate.yaml"], "radii"),
        ({"model_name_or_path": "."}, ["gate.yaml"], "config.json"),
        ({}, ["gate.yaml", "--report", "."], "directory"),
        ({}, ["gate.yaml", "--report", "gate.yaml"], "overwrite"),
        ({}, ["gate.yaml", "--set", "radius=1"], "radius"),
        ({}, ["gate.yaml", "--frobnicate"], "--frobnicate"),
        ({}, [], "config"),
    ],
)
def test_input_that_cannot_be_used(
    call: Call,
    keys: dict[str, object],
    arguments: list[str],
    mentioned: str,
    pytester: pytest.Pytester,
    write_config: Write,
) -> None:
    write_config(**keys)
    code, shown, errors = call("analyze-logits", *arguments)
    assert code == 4
    assert not shown
    lines = [line for line in errors.splitlines() if not line.startswith(("usage:", " "))]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert mentioned in lines[0]
    assert [path.name for path in pytester.path.iterdir()] == ["gate.yaml"]


def test_no_command(call: Call) -> None:
    code, _, errors = call()
    assert code == 4
    assert "COMMAND" in errors


def test_a_misspelt_key_is_warned_about(
    call: Call, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    write_config(cos_treshold=0.9)
    code, _, errors = call("analyze-logits", "gate.yaml")
    assert code == 0
    assert errors.startswith("warning: gate.yaml: ")
    assert "cos_threshold" in errors


def test_control_c(
    call: Call, pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
) -> None:
    write_config()
    fixed.error = KeyboardInterrupt()
    code, shown, errors = call("analyze-logits", "gate.yaml")
    assert (code, shown, errors) == (130, "", "interrupted\n")
    assert not list(pytester.path.glob("*.json"))
