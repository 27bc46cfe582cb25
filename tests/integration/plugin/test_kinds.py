"""Gates along several kinds of directions, with radii and limits of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.fixtures import Write

GATE = "--linearity-config=gate.yaml"


@pytest.fixture
def keys(base_checkpoint: Path) -> dict[str, Any]:
    """A gate along two kinds, that passes."""
    return {
        "prompts": ["1+1="],
        "num_directions": 2,
        "directions": ["gaussian", "-update"],
        "base_model_name_or_path": str(base_checkpoint),
        "update_gate": False,
        "radii": {"gaussian": [0.01, 0.1], "-update": [0.001]},
        "relerr_threshold": {"gaussian": 10, "-update": 5},
        "cos_threshold": -1,
        "precision": "float64",
    }


def test_a_test_per_radius_of_any_kind(
    pytester: pytest.Pytester, real_config: Write, keys: dict[str, Any]
) -> None:
    real_config(**keys)
    result = pytester.runpytest(GATE, "-v", "--junitxml=junit.xml")
    result.assert_outcomes(passed=4)
    for name in ("radius[0.001]", "radius[0.01]", "radius[0.1]", "linearity_radius"):
        result.stdout.fnmatch_lines([f"gate.yaml::{name.replace('[', '[[]')} PASSED*"])
    result.stdout.fnmatch_lines([" linearity radius 0.001 along -update  passes"])
    document = json.loads((pytester.path / "linearity_report.json").read_text())
    assert document["linearity_radius"] == 0.001
    assert document["linearity_radius_by_kind"] == {"gaussian": 0.1, "-update": 0.001}
    assert list(document["metrics"]["0.001"]["by_kind"]) == ["-update"]
    assert len(document["pairs"]["0.001"]["relative_error"]) == 1
    assert len(document["pairs"]["0.1"]["relative_error"]) == 2
    # A baseline, a JVP per direction, and a step per direction and radius, of each kind.
    assert document["environment"]["evaluations"] == (1 + 2 + 4) + (1 + 1 + 1)
    junit = (pytester.path / "junit.xml").read_text()
    assert 'name="mean_relative_error[-update]"' in junit
    assert 'name="mean_relative_error"' not in junit


def test_each_must_keep_its_own_limits(
    pytester: pytest.Pytester, real_config: Write, keys: dict[str, Any]
) -> None:
    real_config(**{**keys, "relerr_threshold": {"gaussian": 10, "-update": 1e-6}})
    result = pytester.runpytest(GATE)
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        [
            "-update: mean relative error 0.0* > 0.0* at r=0.001 (linearity radius none along "
            "-update)",
            "-update: linearity radius none: no tested radius complies, 0.001 must (the largest "
            "tested radius)",
        ]
    )


def test_above_its_own_least_radius_a_kind_need_not_comply(
    pytester: pytest.Pytester, real_config: Write, keys: dict[str, Any]
) -> None:
    limits = {"gaussian": 1e-2, "-update": 5}  # kept at 0.01, broken at 0.1
    radii = {"gaussian": [1e-5, 0.1], "-update": [0.001]}
    least = {"gaussian": 1e-5, "-update": 0.001}
    real_config(
        **{**keys, "relerr_threshold": limits, "radii": radii, "min_linearity_radius": least}
    )
    result = pytester.runpytest(GATE, "-rs")
    result.assert_outcomes(passed=3, skipped=1)
    result.stdout.fnmatch_lines(
        ["*only radii up to min_linearity_radius 1e-05 along gaussian, 0.001 along -update must*"]
    )


def test_marks_may_have_radii_of_all_kinds(
    pytester: pytest.Pytester, real_config: Write, keys: dict[str, Any]
) -> None:
    real_config(**keys)
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.linearity(radii=[0.02], relerr_threshold=9)
        def test_all(linearity_report):
            assert [list(f.by_kind) for f in linearity_report.radii] == [["gaussian", "-update"]]

        @pytest.mark.linearity(radii={"gaussian": [0.01], "-update": [0.01]})
        def test_each(linearity_result):
            assert list(linearity_result.by_kind) == ["gaussian", "-update"]

        def test_plain(linearity_report, linearity_measurement):
            assert [list(f.by_kind) for f in linearity_report.radii] == [
                ["-update"], ["gaussian"], ["gaussian"]
            ]
            assert linearity_measurement.radii == (0.001, 0.01, 0.1)
        """
    )
    pytester.runpytest(GATE, "test_marks_may_have_radii_of_all_kinds.py").assert_outcomes(passed=7)


def test_a_mark_of_an_unknown_kind_is_refused(
    pytester: pytest.Pytester, real_config: Write, keys: dict[str, Any]
) -> None:
    real_config(**keys)
    pytester.makepyfile(
        test_mark="""
        import pytest

        @pytest.mark.linearity(relerr_threshold={"gaussian": 1})
        def test_it(linearity_report):
            pass
        """
    )
    result = pytester.runpytest(GATE, "test_mark.py")
    result.stdout.fnmatch_lines(["*relerr_threshold: -update is missing: of every kind*"])
    assert "Traceback" not in result.stdout.str()


def test_a_baseline_is_compared_kind_by_kind(
    pytester: pytest.Pytester, real_config: Write, keys: dict[str, Any]
) -> None:
    real_config(**keys)
    pytester.runpytest(GATE)
    path = pytester.path / "linearity_report.json"
    document = json.loads(path.read_text())
    pairs = document["pairs"]["0.001"]["relative_error"]
    document["pairs"]["0.001"]["relative_error"] = [[value / 3 for value in row] for row in pairs]
    (pytester.path / "earlier.json").write_text(json.dumps(document))
    real_config(**keys, baseline="earlier.json")
    result = pytester.runpytest(GATE, "-v")
    result.assert_outcomes(passed=7, failed=1)
    result.stdout.fnmatch_lines(["-update: mean relative error * grew 200% over the baseline's *"])
