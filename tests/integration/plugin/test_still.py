"""A scope that moves no logit: nothing is measured, and nothing may pass."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pytest_linearity import Directions, measure
from pytest_linearity.numerics.measurement.limits import Limits
from pytest_linearity.verdict.radius import judge_radii
from tests.support.fixtures import Write

SAID = "no logit of any prompt moves along any direction"


class DeadBranch(nn.Module):
    """What `dead` computes is multiplied by zero."""

    def __init__(self) -> None:
        super().__init__()
        self.alive, self.dead = nn.Linear(3, 4), nn.Linear(3, 4)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.alive(inputs).tanh() + 0 * self.dead(inputs)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_branch_that_leads_nowhere_fails(precision: str) -> None:
    torch.manual_seed(0)
    model, inputs = DeadBranch(), torch.randn(2, 3)

    def verdicts(scope: str) -> list[str | None]:
        directions = Directions(model, 2, scope=scope)
        measured = measure(model, lambda: model(inputs), directions, [0.01, 0.1], precision)
        assert measured.relative_error.shape == (2, 2, 2)
        return [found.reason for found in judge_radii(measured, [0.1, 0.01], Limits(0.2, 0.9))]

    assert all(reason and reason.startswith(SAID) for reason in verdicts("regex:dead"))
    assert verdicts("regex:alive") == verdicts("full") == [None, None]


def test_a_single_pair_that_does_not_move_is_linear() -> None:
    """The rule of a pair stays: both changes are zero, so ε = 0 and c = 1."""
    torch.manual_seed(0)
    model = nn.Linear(3, 4, bias=False)
    inputs = torch.stack([torch.zeros(3), torch.ones(3)])
    measured = measure(model, lambda: model(inputs), Directions(model, 2), [0.1], "float64")
    assert measured.relative_error[0, :, 0].tolist() == [0, 0]
    assert measured.cosine_similarity[0, :, 0].tolist() == [1, 1]
    assert measured.still == (False,)
    [found] = judge_radii(measured, [0.1], Limits(0.2, 0.9))
    assert found.complies


def test_refined_radius_of_it_is_none() -> None:
    torch.manual_seed(0)
    model, inputs = DeadBranch(), torch.randn(2, 3)
    measured = measure(
        model,
        lambda: model(inputs),
        Directions(model, 2, scope="regex:dead"),
        [0.01, 0.1],
        limits=Limits(0.2, 0.9),
        refined=True,
    )
    assert measured.still == (True, True)
    assert measured.refinement is None


def test_the_gate_fails(
    pytester: pytest.Pytester, real_config: Write, tiny_checkpoint: Path
) -> None:
    shutil.copytree(tiny_checkpoint, pytester.path / "zero")
    weights = pytester.path / "zero" / "model.safetensors"
    state = load_file(weights)
    last = max(name for name in state if name.endswith("self_attn.o_proj.weight"))
    state[last].zero_()
    save_file(state, weights, metadata={"format": "pt"})
    scope = "regex:" + last.replace("o_proj", "q_proj").replace(".", r"\.")
    real_config(model_name_or_path="zero", param_scope=scope)
    result = pytester.runpytest("--linearity-config=gate.yaml")
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines([f"*{SAID}* at r=0.1 (linearity radius none)"])
    report = json.loads((pytester.path / "linearity_report.json").read_text())
    assert report["linearity_radius"] is None
    assert report["metrics"]["0.1"]["mean_relative_error"] == 0
