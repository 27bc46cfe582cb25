"""The noise floor, held against what rounding really does."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pytest_linearity import Directions, Measurement, measure
from tests.support.oracle import brute_force


@torch.jit.script
def narrow_tanh(x: Tensor) -> Tensor:
    return torch.tanh(x.float())


class Net(nn.Module):
    """A layer, and a function of its outputs."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = nn.Linear(8, 64)
            self.register_buffer("x", torch.randn(4, 8))
        self.function = function

    def forward(self) -> Tensor:
        return self.function(self.layer(self.x))


def truth(model: nn.Module, directions: Directions, radii: tuple[float, ...]) -> Tensor:
    deltas = [
        {n: directions.tensor(k, n) for n in directions.names} for k in range(directions.count)
    ]
    return brute_force(model, lambda m: m(), deltas, radii).relative_error(radii)


def floors(result: Measurement) -> list[float]:
    assert all(floor is not None for floor in result.noise_floor)
    return [floor or 0.0 for floor in result.noise_floor]


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(
    "function",
    [
        lambda h: 2 * narrow_tanh(h),
        lambda h: narrow_tanh(h) + torch.sin(h),
        lambda h: 30 * torch.sin(h) + narrow_tanh(h),
    ],
    ids=["all", "half", "a thirtieth"],
)
def test_a_scripted_helper_keeps_float64_from_reaching_it(
    function: Callable[[Tensor], Tensor], precision: str
) -> None:
    """The floor in float64 is that of float32 arithmetic: it is measured, not taken for granted."""
    model, radii = Net(function), (1e-5, 1e-4, 1e-3)
    directions = Directions(model, 3)
    result = measure(model, model, directions, radii, precision)
    assert result.jvp_method == "forward-mode"
    exact = Net(_exactly(function))
    off = (result.relative_error - truth(exact, directions, radii)).abs().mean((1, 2))
    for error, floor in zip(off.tolist(), floors(result), strict=True):
        # The floor is what rounding alone makes of ε; under an ε it adds in quadrature.
        assert 0.05 * floor < error < 2 * floor


def _exactly(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def exact(h: Tensor) -> Tensor:
        names = function.__globals__
        names["narrow_tanh"], kept = torch.tanh, names["narrow_tanh"]
        try:
            return function(h)
        finally:
            names["narrow_tanh"] = kept

    return exact


def test_the_floor_of_float64_is_what_float64_rounds() -> None:
    """ε of a linear map is rounding and nothing else."""
    model = Net(lambda h: h).double()
    result = measure(model, model, Directions(model, 3), (1e-6, 1e-3), "float64")
    for place, floor in enumerate(floors(result)):
        assert 0.2 * floor < float(result.relative_error[place].mean()) < 3 * floor


class Outside(torch.autograd.Function):
    """A sine that has no forward-mode derivative."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return torch.sin(x)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_error_of_central_differences_is_in_the_floor(precision: str) -> None:
    """The derivative is that of float64 in either arithmetic, and off by what it is off by."""
    model = Net(Outside.apply)
    directions, radii = Directions(model, 2), (1e-2, 1.0)
    result = measure(model, model, directions, radii, precision)
    assert result.jvp_method == "central-differences"
    off = (result.relative_error - truth(Net(torch.sin), directions, radii)).abs().mean((1, 2))
    for error, floor in zip(off.tolist(), floors(result), strict=True):
        assert error < 3 * floor
        assert math.isfinite(floor)
    if precision == "float64":
        # It does not fall with the radius as rounding does.
        first, last = floors(result)
        assert first < 3 * last
