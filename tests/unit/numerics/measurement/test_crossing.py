"""The crossing of a limit, found from any start, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from pytest_linearity import Directions, Setup
from pytest_linearity.numerics.measurement.crossing import STEP, Crossing, find_crossing
from pytest_linearity.numerics.measurement.limits import Limits

CPU = torch.device("cpu")
BEND = 40.0
LIMITS = Limits(0.2, -1.0)


class Parabola(nn.Module):
    """(w, b w²) at w = 0: ε = b r / √(1 + b² r²), and κ = 2 b."""

    def __init__(self, bend: float = BEND) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.bend = bend

    def forward(self) -> Tensor:
        return torch.cat([self.w, self.bend * self.w**2])[None]


def found(model: nn.Module, start: float, limits: Limits = LIMITS, **more: float) -> Crossing:
    return find_crossing(Setup(model, [model], Directions(model, 1), CPU), limits, start, **more)


CROSSING = 0.2 / (BEND * math.sqrt(1 - 0.2**2))


@pytest.mark.parametrize("start", [1e-6, 1e-3, CROSSING, 1.0, 1e4])
def test_from_any_start(start: float) -> None:
    crossing = found(Parabola(), start, width=1.05)
    assert crossing.low <= CROSSING <= crossing.high
    assert crossing.high / crossing.low <= 1.05
    assert crossing.radius == pytest.approx(CROSSING, rel=0.05)
    # The step of its difference is a thousandth of the start, and w² is exactly differenced.
    assert crossing.curvature_ratio == pytest.approx(2 * BEND, rel=1e-6)
    for radius, error in zip(crossing.evaluated, crossing.relative_error, strict=True):
        u = BEND * radius
        assert error == pytest.approx(u / math.hypot(1, u), rel=1e-6)


def test_curvature_leads_straight_there() -> None:
    """From a thousandth of it: the prediction, one more beyond it, no bisection."""
    crossing = found(Parabola(), CROSSING / 1000)
    assert len(crossing.evaluated) == 3
    assert crossing.high / crossing.low <= STEP * (1 + 1e-9)


def test_the_cosine_may_be_what_breaks() -> None:
    """C = 1 / √(1 + b² r²) at w = 0 falls below 0.99 at b r = 0.1425."""
    crossing = found(Parabola(), 1.0, Limits(10.0, 0.99), width=1.05)
    exact = math.sqrt(1 / 0.99**2 - 1) / BEND
    assert crossing.low <= exact <= crossing.high


def test_what_is_linear_has_no_crossing() -> None:
    crossing = found(Parabola(0.0), 0.1)
    assert crossing.high is None
    assert crossing.low == crossing.radius > 1e5
    assert crossing.curvature_ratio == 0


def test_what_never_complies_has_none_either() -> None:
    crossing = found(Parabola(), 0.1, Limits(0.2, 1.0))  # rounding alone breaks this
    assert crossing.low is None
    assert crossing.high == crossing.radius


def test_what_does_not_move_is_looked_at_once() -> None:
    class Numb(Parabola):
        def forward(self) -> Tensor:
            return super().forward() * 0

    crossing = found(Numb(), 0.1)
    assert (crossing.low, crossing.evaluated) == (None, (0.1,))
