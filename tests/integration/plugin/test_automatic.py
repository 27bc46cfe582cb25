"""`radii: auto`: radii on both sides of the crossing, under ids that do not change with them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.fixtures import Write

GATE = "--linearity-config=gate.yaml"
IDS = [f"gate.yaml::radius[auto-{place}]" for place in (1, 2, 3, 4)]


def document(pytester: pytest.Pytester) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((pytester.path / "linearity_report.json").read_text())
    return report


def ids(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if line.startswith("gate.yaml::")]


def test_collecting_measures_nothing(
    pytester: pytest.Pytester, real_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_config(radii="auto")

    def analysis(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("measured while collecting")

    monkeypatch.setattr("pytest_linearity.run.analysis.Analysis", analysis)
    result = pytester.runpytest(GATE, "--collect-only", "-q")
    assert ids(result) == [*IDS, "gate.yaml::linearity_radius"]


def test_two_radii_comply_and_two_do_not(pytester: pytest.Pytester, real_config: Write) -> None:
    real_config(radii="auto")
    result = pytester.runpytest(GATE, "-v", "-rs", "--junitxml=junit.xml")
    result.assert_outcomes(passed=3, skipped=2)
    result.stdout.fnmatch_lines(["linearity: gate.yaml, r = auto-1, auto-2, auto-3, auto-4"])
    report = document(pytester)
    figures = report["metrics"]
    assert [entry["complies"] for entry in figures.values()] == [True, True, False, False]
    chosen = [float(radius) for radius in figures]
    facts = report["scope"]["automatic_radii"]["gaussian"]
    assert set(facts) == {"crossing_low", "crossing_high", "curvature_ratio", "evaluated"}
    low, high = facts["crossing_low"], facts["crossing_high"]
    assert {low, high} <= set(facts["evaluated"])
    assert low < high <= 1.5 * low
    assert chosen[1] <= (low * high) ** 0.5 < chosen[2]
    # The limit of ε is where κ says, as long as higher orders do not count.
    assert 2 * 0.2 / facts["curvature_ratio"] == pytest.approx((low * high) ** 0.5, rel=0.3)
    # What the YAML says is kept, so that the run can be repeated from its report.
    assert report["config"]["radii"] == chosen
    assert report["config"]["min_linearity_radius"] == chosen[0]
    least = f"only radii up to min_linearity_radius {chosen[0]} must comply"
    skips = [line for line in result.outlines if line.startswith("SKIPPED")]
    assert len(skips) == 2
    for radius, line in zip(chosen[2:], skips, strict=True):
        assert f"at r={radius} (linearity radius {chosen[1]}); {least}" in line
    assert 'name="radius" value="' in (pytester.path / "junit.xml").read_text()


def test_radii_are_those_of_a_config_that_writes_them(
    pytester: pytest.Pytester, real_config: Write
) -> None:
    """Looking for the crossing leaves the figures alone."""
    real_config(radii="auto", precision="float64")
    pytester.runpytest(GATE)
    chosen = document(pytester)
    real_config(radii=chosen["config"]["radii"], min_linearity_radius=1e-3, precision="float64")
    pytester.runpytest(GATE)
    written = document(pytester)
    for radius, figures in chosen["metrics"].items():
        assert figures["mean_relative_error"] == pytest.approx(
            written["metrics"][radius]["mean_relative_error"], rel=1e-9
        )


@pytest.mark.parametrize("place", [1, 3])
def test_an_id_runs_alone(pytester: pytest.Pytester, real_config: Write, place: int) -> None:
    real_config(radii="auto")
    result = pytester.runpytest(GATE, "-v", IDS[place - 1])
    assert [line.split()[0] for line in ids(result)] == [IDS[place - 1]]
    result.assert_outcomes(**({"passed": 1} if place == 1 else {"skipped": 1}))


class TestLeastRadius:
    def test_what_it_says_must_comply(self, pytester: pytest.Pytester, real_config: Write) -> None:
        real_config(radii="auto", min_linearity_radius=2.0)
        result = pytester.runpytest(GATE)
        assert document(pytester)["linearity_radius"] == 1.0
        # A radius of 3 is above it, so that alone would be no failure; 1 is the largest reached.
        result.assert_outcomes(passed=2, failed=1, skipped=2)
        result.stdout.fnmatch_lines(
            ["FAILED gate.yaml::linearity_radius - linearity radius 1.0 < 2.0 (min_lin*"]
        )

    def test_a_radius_below_it_that_does_not_comply_fails(
        self, pytester: pytest.Pytester, real_config: Write
    ) -> None:
        real_config(radii="auto", min_linearity_radius=3.0)
        pytester.runpytest(GATE).assert_outcomes(passed=2, failed=2, skipped=1)

    def test_one_that_is_reached_passes(
        self, pytester: pytest.Pytester, real_config: Write
    ) -> None:
        real_config(radii="auto", min_linearity_radius=1.0)
        pytester.runpytest(GATE).assert_outcomes(passed=3, skipped=2)


class TestSeveralKinds:
    def test_each_has_its_own(self, pytester: pytest.Pytester, real_config: Write) -> None:
        real_config(radii="auto", directions=["gaussian", "gradient"])
        result = pytester.runpytest(GATE, "-v")
        assert [line.split()[0] for line in ids(result)] == [*IDS, "gate.yaml::linearity_radius"]
        report = document(pytester)
        radii = report["config"]["radii"]
        assert set(radii) == {"gaussian", "gradient"}
        # Along the gradient the limits are crossed far earlier.
        assert max(radii["gradient"]) < max(radii["gaussian"])
        assert set(report["scope"]["automatic_radii"]) == {"gaussian", "gradient"}
        for kind, chosen in radii.items():
            complying = [
                report["metrics"][str(radius)]["by_kind"][kind]["complies"] for radius in chosen
            ]
            assert complying[0]
            assert not complying[-1]

    def test_beside_radii_that_are_written(
        self, pytester: pytest.Pytester, real_config: Write
    ) -> None:
        radii = {"gaussian": "auto", "gradient": [0.001]}
        real_config(radii=radii, directions=["gaussian", "gradient"])
        result = pytester.runpytest(GATE)
        # The written one is among the first of each kind.
        result.assert_outcomes(passed=3, skipped=2)
        assert document(pytester)["config"]["radii"]["gradient"] == [0.001]
        assert set(document(pytester)["scope"]["automatic_radii"]) == {"gaussian"}


def test_against_a_baseline(pytester: pytest.Pytester, real_config: Write) -> None:
    real_config(radii="auto", num_directions=1)
    create = ("--linearity-baseline=b.json", "--linearity-baseline-missing=create")
    first = pytester.runpytest(GATE, *create, "-v")
    assert "gate.yaml::baseline[r=auto-1]" in first.stdout.str()
    again = pytester.runpytest(GATE, *create)
    again.assert_outcomes(passed=8, skipped=2)
    # A number that got better by hand shows that each test looks at its own radius.
    report = json.loads((pytester.path / "b.json").read_text())
    radius = str(report["config"]["radii"][1])
    pairs = report["pairs"][radius]["relative_error"]
    report["pairs"][radius]["relative_error"] = [[e / 2 for e in row] for row in pairs]
    (pytester.path / "b.json").write_text(json.dumps(report))
    worse = pytester.runpytest(GATE, *create, "-rf")
    worse.assert_outcomes(passed=7, failed=1, skipped=2)
    worse.stdout.fnmatch_lines(["FAILED gate.yaml::baseline?r=auto-2? - *"])


def test_a_baseline_of_other_radii_is_told(pytester: pytest.Pytester, real_config: Write) -> None:
    real_config(radii=[0.5])
    pytester.runpytest(GATE, "--linearity-report=b.json")
    real_config(radii="auto")
    result = pytester.runpytest(GATE, "--linearity-baseline=b.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *radii*"])
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_from_the_cache(pytester: pytest.Pytester, real_config: Write) -> None:
    real_config(radii="auto")
    pytester.runpytest(GATE, "--linearity-cache")
    measured = document(pytester)
    result = pytester.runpytest(GATE, "--linearity-cache")
    result.assert_outcomes(passed=3, skipped=2)
    reused = document(pytester)
    assert reused["environment"]["reused"] is True
    for key in ("metrics", "scope", "config", "linearity_radius"):
        assert reused[key] == measured[key]


def test_from_a_journal(pytester: pytest.Pytester, real_config: Write) -> None:
    real_config(radii="auto")
    pytester.runpytest(GATE, "--linearity-resume=journal")
    measured = document(pytester)
    result = pytester.runpytest(GATE, "--linearity-resume=journal")
    result.assert_outcomes(passed=3, skipped=2)
    assert document(pytester)["metrics"] == measured["metrics"]


def test_under_xdist(pytester: pytest.Pytester, real_config: Write) -> None:
    real_config(radii="auto")
    result = pytester.runpytest_subprocess(GATE, "-n2", "-v")
    result.assert_outcomes(passed=3, skipped=2)
    for name in IDS:
        assert f"{name} " in result.stdout.str()
    assert document(pytester)["scope"]["automatic_radii"]


def test_several_scopes_each_choose(pytester: pytest.Pytester, real_config: Write) -> None:
    real_config(radii="auto", param_scopes=["full", "last_blocks:1"])
    result = pytester.runpytest(GATE, "-v")
    assert "gate.yaml::last_blocks:1::radius[auto-4]" in result.stdout.str()
    assert result.parseoutcomes()["passed"] >= 6


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"radii": "automatic"}, "*radii: *automatic*"),
        ({"radii": ["auto", 0.1]}, "*radii: *auto*"),
        ({"radii": {"gaussian": "auto", "gradient": [0.1]}}, "*gradient* is not one of*"),
        ({"radii": "auto", "min_linearity_radius": -1}, "*min_linearity_radius*"),
    ],
)
def test_mistakes(
    pytester: pytest.Pytester, real_config: Write, keys: dict[str, Any], words: str
) -> None:
    real_config(**keys)
    result = pytester.runpytest(GATE)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {words}"])
