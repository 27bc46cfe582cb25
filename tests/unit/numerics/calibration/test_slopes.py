"""Derivatives from values, whatever the scale on which a function is curved."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from pytest_linearity import Directions, measure
from pytest_linearity.numerics.calibration.slopes import Ladder, nudges, rounding_of_checked

RATES = (0.3, 0.7, 1.1, -0.9, 0.45, -0.25, 0.8, 0.13)


def ladder(f: Callable[[float], list[float]], radius: float) -> tuple[Ladder, list[int]]:
    """A ladder of a function of a step, and how many values each of its calls has asked for."""
    asked: list[int] = []

    def values_at(steps: Sequence[float]) -> dict[float, Tensor]:
        asked.append(len(steps))
        return {step: torch.tensor([f(step)], dtype=torch.float64) for step in steps}

    return Ladder(values_at, torch.tensor([f(0.0)], dtype=torch.float64), radius), asked


@pytest.mark.parametrize("length", [1e-30, 1e-9, 1e-3, 1.0, 1e3])
@pytest.mark.parametrize("radius", [1e-6, 1e-3, 0.1])
def test_the_step_belongs_to_the_length_on_which_a_function_is_curved(
    length: float, radius: float
) -> None:
    """f(s) = exp(c s/l), saturated on both sides, has the slope c/l at 0."""

    def f(step: float) -> list[float]:
        along = min(max(step / length, -9.0), 3.0)
        return [math.exp(along * c) for c in RATES]

    tried, asked = ladder(f, radius)
    slope = tried.climb()
    truth = torch.tensor([RATES], dtype=torch.float64) / length
    error = float((slope.derivative - truth).norm() / truth.norm())
    assert error < 1e-7
    # The estimate comes from the less exact of two neighbours; so few logits may agree by luck.
    assert error <= max(10 * slope.error, 1e-14)
    assert slope.error < 1e-7
    assert asked[0] == 26
    # Values of order one, in float64: a unit in the last place is 2e-16.
    assert 1e-17 < tried.rounding() < 1e-13


def test_a_function_of_a_plain_scale_asks_no_further() -> None:
    tried, asked = ladder(lambda step: [math.sin(step)], 0.1)
    tried.climb()
    assert asked == [26]


def test_nothing_moves() -> None:
    tried, asked = ladder(lambda step: [1.0, 2.0], 0.1)
    slope = tried.climb()
    assert (slope.error, tried.rounding()) == (0.0, 0.0)
    assert not slope.derivative.any()
    assert len(asked) < 8


@pytest.mark.parametrize("where", ["everywhere", "beyond"])
def test_what_is_not_finite_settles_nothing(where: str) -> None:
    """Not at θ*: then nothing is tried twice. Not at large steps: smaller ones tell."""

    def f(step: float) -> list[float]:
        bad = where == "everywhere" or abs(step) > 1e-3
        return [math.inf if bad else 2 * step]

    tried, asked = ladder(f, 0.1)
    slope = tried.climb()
    if where == "everywhere":
        assert len(asked) == 1
    else:
        torch.testing.assert_close(slope.derivative, torch.tensor([[2.0]]).double())


def test_coarse_rounding_is_seen_although_small_steps_do_not_move() -> None:
    """A grid of 1e-6 in the values: an error of up to 5e-7 at each end of a change."""
    tried, _ = ladder(lambda step: [round((1 + step) * 1e6) / 1e6], 1e-3)
    tried.climb()
    assert 1e-7 < tried.rounding() < 2e-6


@pytest.mark.parametrize("share", [0.01, 1.0, 30.0])
def test_what_stands_still_at_small_steps_is_part_of_the_slope(share: float) -> None:
    """As what a scripted helper has narrowed to float32, beside what is exact."""

    def f(step: float) -> list[float]:
        narrow = (share * torch.exp(step * torch.tensor(RATES, dtype=torch.float64))).float()
        return [math.sin(step), *narrow.tolist()]

    tried, _ = ladder(f, 0.1)
    slope = tried.climb()
    truth = torch.tensor([[1.0, *(share * c for c in RATES)]], dtype=torch.float64)
    error = float((slope.derivative - truth).norm() / truth.norm())
    assert error < 1e-5
    assert error < 10 * slope.error
    # Rounding to a unit u = 2⁻²³ or 2⁻²⁴ is an error of variance u²/12 on both sides of 8 values.
    assert 0.3 < tried.rounding() / (share * 2.0**-23 * math.sqrt(8 / 6)) < 3


def test_a_tangent_is_lost_or_is_not() -> None:
    def f(step: float) -> list[float]:
        return [math.sin(step / 1e-9), step]

    near = {step: torch.tensor([f(step)], dtype=torch.float64) for step in nudges(0.1)}
    right = torch.tensor([[1e9, 1.0]]).double()
    tried, asked = ladder(f, 0.1)
    assert rounding_of_checked(right, near, tried) < 1e-13
    assert asked  # the nudges alone do not settle it
    for part in (0.0, 0.999):
        with pytest.raises(ArithmeticError, match="loses part of the derivative"):
            rounding_of_checked(right * part, near, ladder(f, 0.1)[0])


class Identity(torch.autograd.Function):
    """Has no forward-mode derivative."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()


class ScaleFree(nn.Module):
    """Two layers whose outputs are normalised: what matters of a radius is its share of them."""

    def __init__(self, scale: float, dtype: torch.dtype, *, forward_mode: bool = True) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)

        def drawn(*shape: int) -> Tensor:
            return torch.randn(*shape, dtype=torch.float64, generator=generator)

        self.first = nn.Parameter((scale * drawn(6, 8)).to(dtype))
        self.second = nn.Parameter((scale * drawn(5, 6)).to(dtype))
        self.register_buffer("x", drawn(3, 8))
        self.forward_mode = forward_mode

    def forward(self) -> Tensor:
        hidden = self.x @ self.first.to(self.x.dtype).T
        hidden = torch.tanh(hidden / hidden.abs().mean())
        if not self.forward_mode:
            hidden = Identity.apply(hidden)
        outputs = hidden @ self.second.to(self.x.dtype).T
        return outputs / outputs.abs().mean()

    def truth(self, directions: Directions, radii: Sequence[float]) -> Tensor:
        """ε in float64, [radii, directions, prompts]."""
        twin = ScaleFree(1.0, torch.float64)
        theta = {name: p.detach().double() for name, p in self.named_parameters()}
        rows = []
        for k in range(directions.count):
            delta = {name: directions.tensor(k, name).double() for name in theta}
            baseline, tangent = jvp(lambda at: functional_call(twin, at, ()), (theta,), (delta,))
            row = []
            for radius in radii:
                moved = {name: theta[name] + radius * delta[name] for name in theta}
                change = functional_call(twin, moved, ()) - baseline
                row.append((change - radius * tangent).norm(dim=-1) / change.norm(dim=-1))
            rows.append(torch.stack(row))
        return torch.stack(rows, dim=1)


@pytest.mark.parametrize("forward_mode", [True, False], ids=["forward", "differences"])
@pytest.mark.parametrize("unit", ["relative", "absolute"])
@pytest.mark.parametrize(
    ("scale", "dtype"),
    [
        (1.0, torch.float64),
        (1e-3, torch.float64),
        (1e-4, torch.float64),
        (1e-30, torch.float64),
        (1e-4, torch.float32),
        (1e-30, torch.float32),
        (1e-41, torch.float32),  # subnormal
    ],
)
def test_small_parameters(
    scale: float, dtype: torch.dtype, unit: str, *, forward_mode: bool
) -> None:
    """Radii in proportion to the parameters, and radii far above them."""
    model = ScaleFree(scale, dtype, forward_mode=forward_mode)
    directions = Directions(model, 2)
    norm = directions.norm if unit == "relative" else 1.0
    radii = (1e-3 * norm, 1e-2 * norm)
    result = measure(model, model, directions, radii, "float64")
    assert result.jvp_method == ("forward-mode" if forward_mode else "central-differences")
    # Of central differences the estimate, from one prompt and direction, is as good as this.
    torch.testing.assert_close(
        result.relative_error, model.truth(directions, radii), rtol=1e-6, atol=1e-12
    )
