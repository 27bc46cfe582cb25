"""A real checkpoint through the gate: verdict, report and JUnit."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from junitparser import JUnitXml, Properties, Property, TestCase

from tests.support.fixtures import Write


def properties(case: TestCase) -> Iterator[Property]:
    """The properties of a test case, which junitparser has no accessor for."""
    for found in case.iterchildren(Properties):
        yield from found


def test_a_linear_checkpoint_passes_and_leaves_its_report(
    pytester: pytest.Pytester, real_config: Write, tiny_checkpoint: Path
) -> None:
    real_config()
    result = pytester.runpytest("--linearity-config", "gate.yaml")
    assert result.ret == 0
    result.assert_outcomes(passed=3)
    report = json.loads((pytester.path / "linearity_report.json").read_text())
    assert report["schema_version"] == 1
    assert report["passed"] is True
    assert report["linearity_radius"] == 0.1
    assert report["checkpoint"]["path"] == str(tiny_checkpoint)
    assert report["checkpoint"]["architecture"] == "LlamaForCausalLM"
    assert report["checkpoint"]["dtype"] == "float32"
    assert report["config"]["num_directions"] == 2
    assert report["config"]["cos_threshold"] == 0.95  # a default
    assert list(report["metrics"]) == ["0.01", "0.1"]
    for figures in report["metrics"].values():
        assert 0 < figures["mean_relative_error"] < 0.2
        assert 0.95 < figures["mean_cosine_similarity"] <= 1
        assert figures["complies"] is True
    smaller, larger = report["metrics"].values()
    assert smaller["mean_relative_error"] < larger["mean_relative_error"]


def test_a_checkpoint_that_is_not_linear_fails_and_leaves_its_report(
    pytester: pytest.Pytester, real_config: Write
) -> None:
    real_config(radii=[0.01, 30.0])
    result = pytester.runpytest("--linearity-config", "gate.yaml")
    assert result.ret == 1
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.re_match_lines([r"mean relative error \d\.\d+ > 0\.20.* at r=30\.0 \(linearity"])
    report = json.loads((pytester.path / "linearity_report.json").read_text())
    assert report["passed"] is False
    assert report["linearity_radius"] == 0.01
    assert report["metrics"]["30.0"]["complies"] is False


def test_junit_holds_the_figures(pytester: pytest.Pytester, real_config: Write) -> None:
    real_config(radii=[0.01, 0.1, 30.0], min_linearity_radius=0.1)
    pytester.runpytest("--linearity-config", "gate.yaml", "--junitxml=junit.xml")
    report = json.loads((pytester.path / "linearity_report.json").read_text())
    [suite] = JUnitXml.fromfile(str(pytester.path / "junit.xml"))
    cases = {case.name: case for case in suite}
    assert list(cases) == ["radius[0.01]", "radius[0.1]", "radius[30.0]", "linearity_radius"]
    for radius, figures in report["metrics"].items():
        found = {item.name: item.value for item in properties(cases[f"radius[{radius}]"])}
        assert found.pop("radius") == radius
        # The radius in either unit is JUnit's only where a unit was asked for.
        units = ("radius_absolute", "radius_relative", "adamw_learning_rates")
        wanted = {k: v for k, v in figures.items() if v is not None and k not in units}
        assert found == {k: v if isinstance(v, str) else json.dumps(v) for k, v in wanted.items()}
        assert "mean_relative_error" in found
    last = {item.name: item.value for item in properties(cases["linearity_radius"])}
    assert last == {"linearity_radius": "0.1", "passed": "true"}
    assert cases["radius[30.0]"].is_skipped
    assert cases["radius[30.0]"].result[0].message.startswith("mean relative error")


def test_junit_says_null_where_there_is_no_linearity_radius(
    pytester: pytest.Pytester, real_config: Write
) -> None:
    real_config(radii=[30.0])
    pytester.runpytest("--linearity-config", "gate.yaml", "--junitxml=junit.xml")
    [suite] = JUnitXml.fromfile(str(pytester.path / "junit.xml"))
    cases = {case.name: case for case in suite}
    last = {item.name: item.value for item in properties(cases["linearity_radius"])}
    assert last == {"linearity_radius": "null", "passed": "false"}
    [failure] = cases["radius[30.0]"].result
    assert failure.message.endswith("at r=30.0 (linearity radius none)")


def test_the_report_goes_where_the_command_line_says(
    pytester: pytest.Pytester, real_config: Write
) -> None:
    real_config()
    options = ["--linearity-config", "gate.yaml", "--linearity-report", "new/report.json"]
    result = pytester.runpytest(*options)
    assert json.loads((pytester.path / "new" / "report.json").read_text())["passed"] is True
    assert not (pytester.path / "linearity_report.json").exists()
    result.stdout.fnmatch_lines(["report: new/report.json"])


def test_a_key_set_on_the_command_line(pytester: pytest.Pytester, real_config: Write) -> None:
    real_config()
    options = ["--linearity-config", "gate.yaml", "--linearity-set", "radii=[0.05]"]
    pytester.runpytest(*options, "--linearity-set", "seed=7").assert_outcomes(passed=2)
    report = json.loads((pytester.path / "linearity_report.json").read_text())
    assert list(report["metrics"]) == ["0.05"]
    assert report["config"]["seed"] == 7


def test_the_same_run_gives_the_same_figures(pytester: pytest.Pytester, real_config: Write) -> None:
    real_config()
    metrics = []
    for name in ("first.json", "second.json"):
        pytester.runpytest("--linearity-config", "gate.yaml", "--linearity-report", name)
        metrics.append(json.loads((pytester.path / name).read_text())["metrics"])
    assert metrics[0] == metrics[1]


def test_figures_in_the_table_are_those_of_the_report(
    pytester: pytest.Pytester, real_config: Write
) -> None:
    real_config(radii=[1.0], relerr_threshold=10, cos_threshold=-1)
    result = pytester.runpytest("--linearity-config", "gate.yaml")
    figures = json.loads((pytester.path / "linearity_report.json").read_text())["metrics"]["1.0"]
    error, cosine = figures["mean_relative_error"], figures["mean_cosine_similarity"]
    assert math.isfinite(error)
    result.stdout.fnmatch_lines([f"*1.0*{error:.4f} ±*{cosine:.4f} ±*yes"])
