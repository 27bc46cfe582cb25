"""What the trial makes of a forward that does not take every way."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pytest_linearity import Directions, Measurement, measure
from pytest_linearity.numerics.calibration.trial import Trial
from pytest_linearity.numerics.lockstep.dual import unpack_dual


class Refusing(nn.Module):
    """A cube of a linear layer that fails where its input has a tangent."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = nn.Linear(4, 5)
            self.x = torch.randn(3, 4)
        self.error = error

    def forward(self) -> Tensor:
        hidden = self.layer(self.x)
        if unpack_dual(hidden)[1] is not None:
            raise self.error
        return hidden**3


def measured(model: nn.Module) -> Measurement:
    return measure(model, model, Directions(model, 2), [1e-3], "float64")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NotImplementedError(), "NotImplementedError"),
        (NotImplementedError("\n "), "NotImplementedError"),
        (RuntimeError("no derivative\nfile an issue"), "no derivative"),
    ],
    ids=["silent", "blank", "two lines"],
)
def test_differences_take_over_whatever_forward_mode_fails_with(
    error: Exception, reason: str
) -> None:
    result = measured(Refusing(error))
    assert result.jvp_method == "central-differences"
    assert result.no_forward_mode == reason
    assert result.relative_error.max() < 0.1


def test_a_second_run_tries_no_way_that_the_first_found_closed() -> None:
    model = Refusing(NotImplementedError("no"))
    tangents = []
    model.layer.register_forward_hook(
        lambda layer, inputs, hidden: tangents.append(unpack_dual(hidden)[1])
    )
    trial = Trial(model, model, Directions(model, 1), 1e-3, torch.device("cpu"))
    trial.run(torch.float64)
    assert any(tangent is not None for tangent in tangents)
    assert trial.share_trunk
    assert trial.step is not None
    tangents.clear()
    trial.run(torch.float32)
    assert tangents
    assert all(tangent is None for tangent in tangents)
