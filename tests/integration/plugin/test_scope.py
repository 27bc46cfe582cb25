"""`param_scope` in a run: what the report says of it, and a scope that the checkpoint lacks."""

from __future__ import annotations

import json

import pytest

from tests.support.fixtures import Write


@pytest.mark.parametrize(
    ("scope", "tensors"),
    [
        ("attention+norms", 2 * (4 + 2) + 1),
        ("first_blocks:1", 9),
        ("blocks:1-1+regex:^model.norm", 9 + 1),
        ("embeddings+head", 2),
    ],
)
def test_gate(scope: str, tensors: int, pytester: pytest.Pytester, real_config: Write) -> None:
    real_config(param_scope=scope, relerr_threshold=10, cos_threshold=-1)
    result = pytester.runpytest("--linearity-config", "gate.yaml")
    result.assert_outcomes(passed=3)
    report = json.loads((pytester.path / "linearity_report.json").read_text())
    assert report["config"]["param_scope"] == scope
    assert report["scope"]["param_scope"] == scope
    assert report["scope"]["tensors"] == tensors


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        ("biases", "'biases' matches no parameter of LlamaForCausalLM; it has `full` (21 tensors)"),
        ("mlp+regex:q_norm", "'regex:q_norm' in 'mlp+regex:q_norm' matches no parameter of"),
        ("blocks:1-2", "'blocks:1-2' asks for block 2, the model has 2, counted from 0"),
    ],
)
def test_refusals(scope: str, message: str, pytester: pytest.Pytester, real_config: Write) -> None:
    real_config(param_scope=scope)
    result = pytester.runpytest("--linearity-config", "gate.yaml")
    assert result.ret == 4
    (line,) = [line for line in result.errlines if line]
    assert f"param_scope: {message}" in line
    assert not list(pytester.path.glob("*.json"))
