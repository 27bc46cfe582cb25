"""When an evaluation may start: at once, or when its baseline has made its trunk."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pytest_linearity import Directions
from pytest_linearity.numerics.lockstep.evaluation import Evaluation
from pytest_linearity.numerics.lockstep.scheduler import Lockstep
from pytest_linearity.numerics.precision import Arithmetic

EXACT = Arithmetic(torch.float64, torch.device("cpu"))
STEPS = [Evaluation(0, 0, 0.1), Evaluation(0, 0), Evaluation(0, 1, 0.1)]


class Layers(nn.Module):
    """Two layers, of which the second may be left out."""

    def __init__(self, *, used: bool = True) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.used = used

    def forward(self) -> Tensor:
        hidden = self.first(torch.ones(2, 4)).tanh()
        return self.second(hidden) if self.used else hidden


def outputs(
    model: Layers, evaluations: list[Evaluation], *, share_trunk: bool = True
) -> dict[Evaluation, Tensor]:
    logits: dict[Evaluation, Tensor] = {}
    directions = Directions(model, 2, scope="regex:second")
    Lockstep(model, [model], directions, EXACT, share_trunk=share_trunk).run(
        evaluations, logits.__setitem__
    )
    return logits


@pytest.mark.parametrize("used", [True, False])
def test_steps_that_come_before_their_baseline_wait_for_it(used: bool) -> None:
    """Also where a trunk is the whole forward, so that its end comes without a request."""
    model = Layers(used=used)
    shared = outputs(model, [*STEPS, Evaluation(0)])
    apart = outputs(model, [*STEPS, Evaluation(0)], share_trunk=False)
    assert next(iter(shared)) == Evaluation(0)
    for evaluation in STEPS:
        torch.testing.assert_close(shared[evaluation], apart[evaluation], rtol=0, atol=1e-15)
        assert torch.equal(shared[evaluation], shared[Evaluation(0)]) != used or evaluation.is_jvp


def test_a_baseline_that_is_missing_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(AssertionError, match="trunk of a baseline that is not among them"):
        outputs(Layers(), STEPS)


def test_it_is_not_missed_where_there_is_no_trunk_to_share() -> None:
    assert outputs(Layers(), STEPS, share_trunk=False).keys() == set(STEPS)
    assert outputs(Layers(), STEPS[:1]).keys() == set(STEPS[:1])
