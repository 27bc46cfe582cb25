"""A gate whose prompts share a prefix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.fixtures import Write
from tests.support.shared_prefix import SYSTEM, questions


def test_the_gate_shares_system_message_and_template(
    pytester: pytest.Pytester, real_config: Write, tmp_path: Path
) -> None:
    found = {}
    for share_prefix in (True, False):
        real_config(precision="float64", share_prefix=share_prefix, **questions(tmp_path))
        result = pytester.runpytest("--linearity-config", "gate.yaml")
        result.assert_outcomes(passed=3)
        found[share_prefix] = json.loads((pytester.path / "linearity_report.json").read_text())
    shared, plain = (found[share_prefix]["environment"] for share_prefix in (True, False))
    # <bos> and <|system|>, a token for each character, <|user|>; nothing all questions begin with.
    assert shared["shared_prefix"] == 2 + len(SYSTEM) + 1
    assert shared["shared_prefix_skipped"] is None
    assert plain["shared_prefix"] is None
    assert plain["shared_prefix_skipped"] == "share_prefix is false"
    assert found[True]["config"]["share_prefix"] is True
    for radius in ("0.01", "0.1"):
        ours, theirs = (found[share_prefix]["metrics"][radius] for share_prefix in (True, False))
        for figure in ("mean_relative_error", "mean_cosine_similarity"):
            assert ours[figure] == pytest.approx(theirs[figure], rel=1e-9)
