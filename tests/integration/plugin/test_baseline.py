"""The tests of a gate against a baseline."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pytest_linearity.errors import CheckpointError
from tests.support.fixed import FixedAnalysis
from tests.support.fixtures import Write

GATE = "--linearity-config=gate.yaml"
CREATE = "--linearity-baseline-missing=create"
FIGURES = {0.1: (0.02, 0.999), 0.3: (0.06, 0.99)}


@pytest.fixture(scope="module")
def left() -> dict[str, str]:
    """What the first run of `gate` has left, by the file's name; for the tests after the first."""
    return {}


@pytest.fixture
def gate(
    pytester: pytest.Pytester,
    write_config: Write,
    fixed: type[FixedAnalysis],
    left: dict[str, str],
) -> type[FixedAnalysis]:
    """A gate of two radii that passes, and its baseline `old.json` with the same figures."""
    fixed.figures = FIGURES
    write_config(radii=[0.1, 0.3], baseline="old.json")
    if not left:
        assert pytester.runpytest(GATE, CREATE).ret == 0
        left.update({path.name: path.read_text() for path in pytester.path.glob("*.json")})
        assert left.keys() == {"old.json", "linearity_report.json"}
    for name, text in left.items():
        (pytester.path / name).write_text(text)
    fixed.measured = 0
    return fixed


def usage_error(result: pytest.RunResult) -> str:
    assert result.ret == 4
    lines = [line for line in result.errlines if line.strip()]
    assert len(lines) == 1, lines
    assert "Traceback" not in result.stdout.str()
    return lines[0]


def outcomes(result: pytest.RunResult) -> dict[str, str]:
    """Outcome by the name of each test, of a run with `-v`."""
    words = ("PASSED", "FAILED", "SKIPPED")
    return {
        line.split("::")[-1].split()[0]: word
        for line in result.outlines
        for word in words
        if line.startswith("gate.yaml::") and f" {word}" in line
    }


class TestCollection:
    def names(self, pytester: pytest.Pytester, *arguments: str) -> Sequence[str]:
        result = pytester.runpytest(*arguments, "--collect-only", "-q")
        return [line for line in result.outlines if "::" in line]

    def test_one_per_radius_and_one_for_the_linearity_radius(
        self, pytester: pytest.Pytester, gate: type[FixedAnalysis]
    ) -> None:
        assert self.names(pytester, GATE) == [
            "gate.yaml::radius[0.1]",
            "gate.yaml::radius[0.3]",
            "gate.yaml::linearity_radius",
            "gate.yaml::baseline[r=0.1]",
            "gate.yaml::baseline[r=0.3]",
            "gate.yaml::baseline[linearity_radius]",
        ]
        assert gate.measured == 0

    def test_none_without_a_baseline(
        self, pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
    ) -> None:
        write_config()
        assert not [name for name in self.names(pytester, GATE) if "baseline" in name]

    @pytest.mark.parametrize(
        ("arguments", "passed"),
        [
            (["-k", "baseline"], 3),
            ([GATE, "gate.yaml::baseline[r=0.3]"], 1),
            (["-k", "not baseline"], 3),
        ],
    )
    def test_selection(
        self,
        arguments: list[str],
        passed: int,
        pytester: pytest.Pytester,
        gate: type[FixedAnalysis],
    ) -> None:
        result = pytester.runpytest(GATE, *arguments)
        assert result.parseoutcomes()["passed"] == passed
        assert gate.measured == 1

    def test_the_fixtures_alone_have_none(
        self, pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
    ) -> None:
        write_config(baseline="none.json")
        pytester.makepyfile("def test_own(linearity_report): pass")
        pytester.runpytest("-o", "linearity_config=gate.yaml").assert_outcomes(passed=1)


class TestVerdict:
    def test_the_same_figures_pass(
        self, pytester: pytest.Pytester, gate: type[FixedAnalysis]
    ) -> None:
        result = pytester.runpytest(GATE)
        result.assert_outcomes(passed=6)
        result.stdout.fnmatch_lines(
            [
                "gate.yaml against old.json",
                "*radius  baseline     now   ≤ 10%  95% interval  verdict",
                "*0.3    0.0600  0.0600     +0%             -  no worse",
                "*linearity radius 0.3  baseline 0.3",
            ]
        )
        assert gate.measured == 1

    def test_growth_beyond_the_limit_fails(
        self, pytester: pytest.Pytester, gate: type[FixedAnalysis]
    ) -> None:
        gate.figures = {**FIGURES, 0.3: (0.09, 0.99)}
        result = pytester.runpytest(GATE, "-v")
        assert result.ret == 1
        assert outcomes(result)["baseline[r=0.3]"] == "FAILED"
        result.assert_outcomes(passed=5, failed=1)
        result.stdout.fnmatch_lines(
            [
                "mean relative error 0.09 grew 50% over the baseline's 0.06 at r=0.3 (limit 10%; "
                "difference 0.03, no interval from a single direction)",
                "*0.3  0.0900 *",
                "FAILED *gate.yaml::baseline?r=0.3? - mean relative error 0.09 grew 50%*",
            ]
        )
        assert json.loads((pytester.path / "linearity_report.json").read_text())["passed"]

    def test_growth_within_the_limit_passes(
        self, pytester: pytest.Pytester, gate: type[FixedAnalysis]
    ) -> None:
        gate.figures = {**FIGURES, 0.3: (0.065, 0.99)}
        pytester.runpytest(GATE).assert_outcomes(passed=6)
        result = pytester.runpytest(GATE, "--linearity-set=max_regression=0.05")
        result.assert_outcomes(passed=5, failed=1)
        result.stdout.fnmatch_lines(["*grew 8.33% over the baseline's 0.06 at r=0.3 (limit 5%;*"])

    def test_better_never_fails(self, pytester: pytest.Pytester, gate: type[FixedAnalysis]) -> None:
        gate.figures = {0.1: (0.0, 1.0), 0.3: (0.01, 1.0)}
        pytester.runpytest(GATE).assert_outcomes(passed=6)

    def test_the_linearity_radius_fell(
        self, pytester: pytest.Pytester, gate: type[FixedAnalysis]
    ) -> None:
        gate.figures = {**FIGURES, 0.3: (0.06, 0.9)}
        result = pytester.runpytest(GATE, "--linearity-set=min_linearity_radius=0.1", "-v")
        assert result.ret == 1
        assert [name for name, word in outcomes(result).items() if word == "FAILED"] == [
            "baseline[linearity_radius]"
        ]
        result.stdout.fnmatch_lines(["linearity radius 0.1 fell below the baseline's 0.3"])

    def test_a_figure_that_is_no_longer_defined(
        self, pytester: pytest.Pytester, gate: type[FixedAnalysis]
    ) -> None:
        gate.figures = {**FIGURES, 0.1: (None, None)}
        result = pytester.runpytest(GATE, "-k", "baseline and not linearity_radius")
        result.assert_outcomes(passed=1, failed=1)
        result.stdout.fnmatch_lines(["relative error undefined in 1 of 1 (direction, prompt)*"])

    def test_nothing_that_could_be_compared_is_a_skip(
        self, pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
    ) -> None:
        fixed.figures = {**FIGURES, 0.3: (None, None)}
        write_config(radii=[0.1, 0.3], baseline="old.json")
        pytester.runpytest(GATE, CREATE)
        result = pytester.runpytest(GATE, "-k", "baseline", "-rs")
        result.assert_outcomes(passed=2, skipped=1)
        result.stdout.fnmatch_lines(["SKIPPED*gate.yaml*: nothing to compare at r=0.3: *"])

    def test_the_figures_are_properties(
        self, pytester: pytest.Pytester, gate: type[FixedAnalysis]
    ) -> None:
        gate.figures = {**FIGURES, 0.3: (0.09, 0.99)}
        pytester.runpytest(GATE, "--junitxml=junit.xml")
        cases = ElementTree.parse("junit.xml").iter("testcase")
        found = {
            case.get("name"): {
                entry.get("name"): entry.get("value") for entry in case.iter("property")
            }
            for case in cases
        }
        of_radius = found["baseline[r=0.3]"]
        assert float(of_radius["baseline_relative_error"]) == 0.06
        assert float(of_radius["mean_relative_error"]) == 0.09
        assert float(of_radius["growth"]) == pytest.approx(0.5)
        assert of_radius["regression"] == "regressed"
        assert found["baseline[linearity_radius]"] == {
            "baseline_linearity_radius": "0.3",
            "linearity_radius": "0.3",
        }


class TestCreate:
    def test_the_report_becomes_the_baseline(
        self, pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
    ) -> None:
        write_config(radii=[0.1, 0.3], baseline="kept/old.json")
        result = pytester.runpytest(GATE, CREATE, "-rs")
        result.assert_outcomes(passed=3, skipped=3)
        result.stdout.fnmatch_lines(
            [
                "baseline: kept/old.json, made of this report",
                "SKIPPED*gate.yaml*: kept/old.json: there is no baseline yet: this run's report "
                "becomes it",
            ]
        )
        created = (pytester.path / "kept" / "old.json").read_text()
        assert created == (pytester.path / "linearity_report.json").read_text()
        assert [path.name for path in (pytester.path / "kept").iterdir()] == ["old.json"]

    def test_only_once(self, pytester: pytest.Pytester, gate: type[FixedAnalysis]) -> None:
        before = (pytester.path / "old.json").read_text()
        gate.figures = {**FIGURES, 0.3: (0.01, 0.99)}
        result = pytester.runpytest(GATE, CREATE)
        result.assert_outcomes(passed=6)
        result.stdout.no_fnmatch_line("*made of this report*")
        assert (pytester.path / "old.json").read_text() == before

    def test_not_where_nothing_is_measured(
        self, pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
    ) -> None:
        write_config(radii=[0.1, 0.3], baseline="old.json")
        pytester.runpytest(GATE, CREATE, "--collect-only")
        fixed.error = CheckpointError("checkpoint: it is broken")
        assert pytester.runpytest(GATE, CREATE).ret == 4
        assert [path.name for path in pytester.path.glob("*.json")] == []

    def test_of_a_gate_that_fails(
        self, pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
    ) -> None:
        write_config(baseline="old.json")
        result = pytester.runpytest(GATE, CREATE)
        assert result.ret == 1
        assert json.loads((pytester.path / "old.json").read_text())["passed"] is False

    def test_the_report_of_the_run_before(
        self, pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
    ) -> None:
        # Baseline and report are the same file: it must be read before it is overwritten.
        fixed.figures = FIGURES
        write_config(radii=[0.1, 0.3], baseline="linearity_report.json")
        pytester.runpytest(GATE, CREATE).assert_outcomes(passed=3, skipped=3)
        fixed.figures = {**FIGURES, 0.3: (0.09, 0.99)}
        pytester.runpytest(GATE, CREATE).assert_outcomes(passed=5, failed=1)
        pytester.runpytest(GATE, CREATE).assert_outcomes(passed=6)

    def test_a_directory_of_several_checkpoints(
        self, pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
    ) -> None:
        for name in ("checkpoint-1", "checkpoint-2"):
            pytester.mkdir(name)
        write_config(radii=[0.1], model_name_or_path="checkpoint-*", baseline="kept/")
        result = pytester.runpytest(GATE, CREATE)
        result.assert_outcomes(passed=4, skipped=4)
        assert sorted(path.name for path in (pytester.path / "kept").iterdir()) == [
            "linearity_report-checkpoint-1.json",
            "linearity_report-checkpoint-2.json",
        ]
        result = pytester.runpytest(GATE)
        result.assert_outcomes(passed=8)
        result.stdout.fnmatch_lines(["gate.yaml* against kept/linearity_report-checkpoint-2.json"])

    def test_a_file_of_several_checkpoints(
        self, pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
    ) -> None:
        for name in ("checkpoint-1", "checkpoint-2"):
            pytester.mkdir(name)
        write_config(radii=[0.1], model_name_or_path="checkpoint-*", baseline="old.json")
        message = usage_error(pytester.runpytest(GATE, CREATE))
        assert "old.json: one file cannot become the baseline of 2 checkpoints" in message
        write_config("one.yaml", radii=[0.1], model_name_or_path="checkpoint-1")
        asked = ("--linearity-baseline=old.json", CREATE)
        pytester.runpytest("--linearity-config=one.yaml", *asked)
        pytester.runpytest(GATE).assert_outcomes(passed=8)


class TestRefusal:
    def test_a_missing_baseline(
        self, pytester: pytest.Pytester, write_config: Write, fixed: type[FixedAnalysis]
    ) -> None:
        write_config(baseline="old.json")
        message = usage_error(pytester.runpytest(GATE))
        assert "old.json: there is no such baseline" in message
        assert "--linearity-baseline-missing=create" in message
        assert fixed.measured == 0
        assert not list(pytester.path.glob("*.json"))

    def test_the_command_line_wins_over_the_config(
        self, pytester: pytest.Pytester, gate: type[FixedAnalysis]
    ) -> None:
        message = usage_error(pytester.runpytest(GATE, "--linearity-baseline=other.json"))
        assert "other.json: there is no such baseline" in message

    @pytest.mark.parametrize(
        ("text", "mentioned"),
        [
            ("not JSON", "old.json: this is not JSON"),
            ("{}", "old.json: this is not a report of pytest-linearity"),
            ('{"schema_version": 99}', "old.json: schema_version 99 is newer than"),
        ],
    )
    def test_not_a_report(
        self, text: str, mentioned: str, pytester: pytest.Pytester, gate: type[FixedAnalysis]
    ) -> None:
        (pytester.path / "old.json").write_text(text)
        assert mentioned in usage_error(pytester.runpytest(GATE))
        assert gate.measured == 0

    def test_of_other_pairs(self, pytester: pytest.Pytester, gate: type[FixedAnalysis]) -> None:
        other = ("--linearity-set=seed=7", "--linearity-set=radii=[0.1]")
        message = usage_error(pytester.runpytest(GATE, *other))
        assert "old.json: this baseline is not comparable: seed: 7 here, 42 in" in message
        assert "radii: [0.1] here, [0.1, 0.3] in the baseline" in message
        assert gate.measured == 0

    def test_of_other_prompts_is_found_before_measuring(
        self, pytester: pytest.Pytester, gate: type[FixedAnalysis]
    ) -> None:
        gate.prompts = {"digest": "other", "rows": []}
        before = (pytester.path / "linearity_report.json").read_text()
        message = usage_error(pytester.runpytest(GATE))
        assert "old.json: this baseline is not comparable: probes: " in message
        assert gate.measured == 0
        assert (pytester.path / "linearity_report.json").read_text() == before

    def test_without_a_gate(self, pytester: pytest.Pytester) -> None:
        message = usage_error(pytester.runpytest("--linearity-baseline=old.json"))
        assert "--linearity-baseline" in message

    def test_with_the_fixtures_alone(self, pytester: pytest.Pytester, write_config: Write) -> None:
        write_config()
        result = pytester.runpytest("-o", "linearity_config=gate.yaml", "--linearity-baseline=x")
        message = usage_error(result)
        assert "--linearity-baseline: there is no gate" in message


class TestRealCheckpoint:
    def edited(self, path: Path, edit: Callable[[float], float]) -> None:
        document = json.loads(path.read_text())
        for figures in document["pairs"].values():
            errors = figures["relative_error"]
            figures["relative_error"] = [[edit(error) for error in row] for row in errors]
        path.write_text(json.dumps(document))

    def test_from_the_first_baseline_to_a_regression(
        self, pytester: pytest.Pytester, real_config: Write
    ) -> None:
        real_config(baseline="old.json", num_directions=3, precision="float64")
        pytester.runpytest(GATE, CREATE).assert_outcomes(passed=3, skipped=3)
        pytester.runpytest(GATE).assert_outcomes(passed=6)
        self.edited(pytester.path / "old.json", lambda error: error / 2)
        result = pytester.runpytest(GATE)
        result.assert_outcomes(passed=4, failed=2)
        result.stdout.fnmatch_lines(["mean relative error * grew 100% over the baseline's * at *"])

    def test_other_prompts(self, pytester: pytest.Pytester, real_config: Write) -> None:
        real_config(baseline="old.json")
        pytester.runpytest(GATE, CREATE)
        real_config(baseline="old.json", prompts=["1+1=", "The sea is"])
        message = usage_error(pytester.runpytest(GATE))
        assert "probes: 1 of 2 prompts have other tokens (the first is row 1 of" in message
