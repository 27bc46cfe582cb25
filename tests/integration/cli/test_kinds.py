"""A healthy and an anomalous checkpoint along several kinds of directions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fixtures import Call
from tests.support.paths import ARITHMETIC, ROOT


@pytest.fixture
def reports(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Reports on both, along random directions and the gradient of the loss."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "100")
    paths = [tmp_path / f"{name}.json" for name in ("healthy", "anomalous")]
    keys = {
        "directions": "[gaussian,gradient]",
        "max_samples": 4,
        "num_directions": 6,
        "radii": "[0.1]",
        "precision": "float32",
    }
    sets = [part for key, value in keys.items() for part in ("--set", f"{key}={value}")]
    for path in paths:
        checkpoint = f"model_name_or_path={ARITHMETIC / path.stem}"
        config = str(ARITHMETIC / "linearity.yaml")
        code, _, _ = call(
            "analyze-logits", config, "--report", str(path), "--set", checkpoint, *sets
        )
        assert code == 0
    return str(paths[0]), str(paths[1])


def test_compare_is_not_blinded_by_their_common_mean(call: Call, reports: tuple[str, str]) -> None:
    code, shown, _ = call("compare", *reports, "--fail-on-regression")
    assert code == 1
    rows = [line.split() for line in shown.splitlines() if line.lstrip().startswith("0.1 ")]
    assert [(row[1], row[-1]) for row in rows] == [
        ("gaussian", "regressed"),
        ("gradient", "regressed"),
    ]
    assert "within chance" not in shown
    assert "gradient is another vector than in the baseline (norm " in shown
    code, shown, _ = call("compare", reports[0], reports[0], "--fail-on-regression")
    assert code == 0
    assert "another vector" not in shown
