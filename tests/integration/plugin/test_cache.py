"""`--linearity-cache`: reused when nothing has changed that matters, measured when anything has."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.checkpoints import rewrite
from tests.support.fixtures import Write

GATE = "--linearity-config=gate.yaml"
CACHED = (GATE, "--linearity-cache")


@pytest.fixture
def checkpoint(pytester: pytest.Pytester, tiny_checkpoint: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(tiny_checkpoint, pytester.path / "checkpoint"))


@pytest.fixture
def gate(real_config: Write, checkpoint: Path) -> Write:
    """Writes a small gate over that copy, with keys that differ from the last time."""

    def write(name: str = "gate.yaml", **keys: Any) -> Path:
        small = {"model_name_or_path": str(checkpoint), "num_directions": 1, "prompts": ["1+1="]}
        return real_config(name, **{**small, **keys})

    write()
    return write


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, imported: None) -> list[int]:
    """An entry for every measurement."""
    from pytest_linearity.run import measuring

    measure = measuring.measure_with
    times: list[int] = []

    def spy(*arguments: Any, **options: Any) -> Any:
        times.append(1)
        return measure(*arguments, **options)

    monkeypatch.setattr(measuring, "measure_with", spy)
    return times


def report(pytester: pytest.Pytester) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((pytester.path / "linearity_report.json").read_text())
    return found


def test_a_measurement_is_reused_and_the_run_says_so(
    pytester: pytest.Pytester, gate: Write, measured: list[int]
) -> None:
    first = pytester.runpytest(*CACHED)
    first.assert_outcomes(passed=3)
    first.stdout.fnmatch_lines(["linearity cache: .pytest_cache/d/linearity"])
    first.stdout.no_fnmatch_line("*reused from the cache*")
    before = report(pytester)
    (pytester.path / "linearity_report.json").unlink()
    again = pytester.runpytest(*CACHED)
    again.assert_outcomes(passed=3)
    assert len(measured) == 1
    after = report(pytester)
    when = after["environment"]["measured"]
    again.stdout.fnmatch_lines([f"measured {when}, reused from the cache"])
    assert before["environment"]["reused"] is False
    assert after["environment"].pop("reused") is True
    del before["environment"]["reused"]
    assert before == after


def test_off_by_default(pytester: pytest.Pytester, gate: Write, measured: list[int]) -> None:
    for _ in range(2):
        result = pytester.runpytest(GATE)
        result.stdout.no_fnmatch_line("linearity cache: *")
    assert len(measured) == 2
    assert not (pytester.path / ".pytest_cache" / "d").exists()
    pytester.runpytest(*CACHED)
    pytester.runpytest(GATE)
    assert len(measured) == 4


LIMITS = (
    {"relerr_threshold": 1e-9, "cos_threshold": 1.0},
    {"min_linearity_radius": 0.01},
    {"output_dir": "out"},
    {"report_filename": "other.json"},
    {"max_regression": 0.5},
)


@pytest.mark.parametrize("keys", LIMITS, ids=lambda keys: next(iter(keys)))
def test_what_is_made_of_a_measurement_may_change(
    keys: dict[str, Any], pytester: pytest.Pytester, gate: Write, measured: list[int]
) -> None:
    pytester.runpytest(*CACHED).assert_outcomes(passed=3)
    gate(**keys)
    result = pytester.runpytest(*CACHED)
    assert len(measured) == 1
    result.stdout.fnmatch_lines(["*reused from the cache"])
    if "relerr_threshold" in keys:
        result.assert_outcomes(failed=3)  # judged by the new limits
        assert report(pytester)["config"]["relerr_threshold"] == 1e-9


CHANGES = (
    {"seed": 7},
    {"radii": [0.01, 0.2]},
    {"num_directions": 2},
    {"prompts": ["1+2="]},
    {"batch_size": 1},
    {"precision": "float64"},
    {"param_scope": "last_blocks:1"},
    {"cutoff_len": 2},
)


def test_anything_else_may_not(pytester: pytest.Pytester, gate: Write, measured: list[int]) -> None:
    pytester.runpytest(*CACHED)
    for times, keys in enumerate(CHANGES, start=2):
        gate(**keys)
        pytester.runpytest(*CACHED)
        assert len(measured) == times, keys
    gate()
    pytester.runpytest(*CACHED)
    assert len(measured) == len(CHANGES) + 1


def test_rounding_that_could_turn_a_verdict_is_settled_by_a_measurement(
    pytester: pytest.Pytester, gate: Write, measured: list[int]
) -> None:
    gate(precision="auto", radii=[3.0])
    pytester.runpytest(*CACHED)
    found = report(pytester)["metrics"]["3.0"]
    assert found["precision"] == "float32"
    near = {"relerr_threshold": found["mean_relative_error"] * (1 + 1e-9)}
    for times, keys in ((2, near), (2, near), (2, {}), (2, {"relerr_threshold": 0.9})):
        gate(precision="auto", radii=[3.0], **keys)
        pytester.runpytest(*CACHED)
        assert len(measured) == times, keys


class TestTheCheckpoint:
    def test_that_has_changed_is_measured(
        self, pytester: pytest.Pytester, gate: Write, measured: list[int], checkpoint: Path
    ) -> None:
        pytester.runpytest(*CACHED)
        rewrite(checkpoint / "model.safetensors")
        pytester.runpytest(*CACHED)
        assert len(measured) == 2

    def test_that_has_moved_is_not(
        self, pytester: pytest.Pytester, gate: Write, measured: list[int], checkpoint: Path
    ) -> None:
        pytester.runpytest(*CACHED)
        checkpoint.rename(pytester.path / "moved")
        gate(model_name_or_path="moved")
        pytester.runpytest(*CACHED)
        assert len(measured) == 1
        assert report(pytester)["checkpoint"]["path"] == "moved"

    def test_that_is_no_longer_one_is_refused(
        self, pytester: pytest.Pytester, gate: Write, measured: list[int], checkpoint: Path
    ) -> None:
        pytester.runpytest(*CACHED)
        (checkpoint / "model.safetensors").unlink()
        assert pytester.runpytest(*CACHED).ret == 4


def test_another_version_measures(
    pytester: pytest.Pytester,
    gate: Write,
    measured: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pytest_linearity.run import environment

    pytester.runpytest(*CACHED)
    versions = environment.versions()
    for name in ("torch", "transformers", "pytest_linearity"):
        monkeypatch.setattr(environment, "versions", lambda: {**versions, name: "0"})  # noqa: B023
        pytester.runpytest(*CACHED)
    assert len(measured) == 4


@pytest.mark.parametrize("damage", [b"", b"{}", None])
def test_a_damaged_entry_is_measured_again(
    damage: bytes | None, pytester: pytest.Pytester, gate: Write, measured: list[int]
) -> None:
    pytester.runpytest(*CACHED)
    [entry] = (pytester.path / ".pytest_cache" / "d" / "linearity").glob("*.found")
    entry.write_bytes(entry.read_bytes().replace(b"1", b"2", 70) if damage is None else damage)
    pytester.runpytest(*CACHED).assert_outcomes(passed=3)
    pytester.runpytest(*CACHED)
    assert len(measured) == 2


def test_an_entry_that_cannot_be_written_loses_no_measurement(
    pytester: pytest.Pytester, gate: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_linearity.errors import LinearityError
    from pytest_linearity.run.store import cache

    def fail(*_: object) -> None:
        raise LinearityError("no space left")

    monkeypatch.setattr(cache, "write_findings", fail)
    result = pytester.runpytest(*CACHED)
    result.assert_outcomes(passed=3, warnings=1)
    result.stdout.fnmatch_lines(["*the measurement is not kept for later: no space left*"])


def test_the_cache_of_pytest_can_be_cleared(
    pytester: pytest.Pytester, gate: Write, measured: list[int]
) -> None:
    pytester.runpytest(*CACHED)
    pytester.runpytest(*CACHED, "--cache-clear")
    assert len(measured) == 2


def test_without_the_cache_of_pytest_there_is_none(
    pytester: pytest.Pytester, write_config: Write
) -> None:
    write_config()
    result = pytester.runpytest(*CACHED, "-p", "no:cacheprovider")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --linearity-cache: *-p no:cacheprovider*"])


def test_fixtures_of_a_reused_measurement(
    pytester: pytest.Pytester, gate: Write, measured: list[int]
) -> None:
    pytester.runpytest(*CACHED)
    pytester.makepyfile(
        """
        def test_figures(linearity_measurement, linearity_report):
            mean = float(linearity_measurement.relative_error[0].mean())
            assert mean == linearity_report.at(0.01).mean_relative_error

        def test_model(linearity_model, linearity_directions, linearity_probes):
            names = {name for name, _ in linearity_model.named_parameters()}
            assert set(linearity_directions.names) <= names
        """
    )
    pytester.runpytest(".", *CACHED).assert_outcomes(passed=5)
    assert len(measured) == 1


def test_a_refined_measurement_is_not_reused_under_other_limits(
    pytester: pytest.Pytester, real_config: Write
) -> None:
    def refined(**keys: Any) -> Any:
        real_config(radii=[0.1, 1000.0], refine=True, prompts=["1+1="], num_directions=1, **keys)
        pytester.runpytest("--linearity-config=gate.yaml", "--linearity-cache")
        return json.loads((pytester.path / "linearity_report.json").read_text())

    first, other = refined(), refined(relerr_threshold=0.05)
    assert other["environment"]["reused"] is False
    assert other["refined"]["linearity_radius"] < first["refined"]["linearity_radius"]
    again = refined()
    assert again["environment"]["reused"] is True
    assert again["refined"] == first["refined"]
