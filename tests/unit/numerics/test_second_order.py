"""Second derivatives against closed forms and nested forward mode, and what they predict."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from pytest_linearity import Directions, measure
from pytest_linearity.numerics.derivatives import extrapolate_second, steps
from pytest_linearity.numerics.lockstep import products
from pytest_linearity.numerics.measurement.limits import Limits
from tests.support.oracle import brute_force

AXES = torch.eye(5, dtype=torch.float64)[:3] * torch.tensor([[2.0], [3.0], [0.5]])


class Cubic(nn.Module):
    """f(w) = t v₁ + t² v₂ + t³ v₃ with t = c·w, for one prompt; the v are orthogonal."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(7, generator=generator).double())
        self.register_buffer("c", torch.randn(7, generator=generator).double())

    def forward(self) -> Tensor:
        t = (self.c * self.weight).sum()
        return (t * AXES[0] + t**2 * AXES[1] + t**3 * AXES[2])[None]

    def along(self, delta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """First, second and third derivative along a direction."""
        t, s = (self.c * self.weight).sum(), (self.c * delta.double()).sum()
        first = s * (AXES[0] + 2 * t * AXES[1] + 3 * t**2 * AXES[2])
        second = s**2 * (2 * AXES[1] + 6 * t * AXES[2])
        return first, second, s**3 * 6 * AXES[2]


class HiddenForwardMode(torch.autograd.Function):
    """Has no forward-mode derivative."""

    @staticmethod
    def forward(ctx, x):
        return torch.tanh(x)

    @staticmethod
    def backward(ctx, gradient):
        raise NotImplementedError


@pytest.fixture
def cubic() -> Cubic:
    return Cubic()


def closed_forms(model: Cubic, directions: Directions) -> list[tuple[Tensor, Tensor, Tensor]]:
    return [model.along(directions.tensor(k, "weight")) for k in range(directions.count)]


def test_curvature_ratio_of_a_cubic_is_its_closed_form(cubic: Cubic) -> None:
    directions = Directions(cubic, 4)
    measured = measure(cubic, cubic, directions, [0.01, 0.1], second_order=True)
    exact = [(b.norm() / a.norm()).item() for a, b, _ in closed_forms(cubic, directions)]
    assert measured.curvature_ratio.shape == (4, 1)
    # A central difference of JVPs is exact for a cubic up to rounding of 1e-16 / h = 1e-11.
    assert measured.curvature_ratio[:, 0].tolist() == pytest.approx(exact, rel=1e-8)


def test_relative_error_follows_curvature_to_first_order(cubic: Cubic) -> None:
    measured = measure(cubic, cubic, Directions(cubic, 4), [1e-4], second_order=True)
    predicted = 1e-4 * measured.curvature_ratio / 2
    # The next term is smaller by a factor of the order of r.
    torch.testing.assert_close(measured.relative_error[0], predicted, rtol=1e-3, atol=0)


def test_without_being_asked_for_there_is_none(cubic: Cubic) -> None:
    measured = measure(cubic, cubic, Directions(cubic, 1), [0.1])
    assert measured.curvature_ratio is None
    assert measured.refinement is None
    assert measured.layers is None


class Norm(nn.Module):
    """Spelled out: torch's forward mode of its own `layer_norm` cannot be nested (2.13 gives a
    second derivative that is off by half)."""

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5)


class Network(nn.Module):
    """Linear layers, a norm, an embedding and a product of parameters."""

    def __init__(self, function=torch.tanh) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.embedding = nn.Embedding(5, 6)
        self.first, self.norm, self.last = nn.Linear(6, 8), Norm(), nn.Linear(8, 4)
        self.gate = nn.Parameter(torch.randn(8))
        self.function = function

    def forward(self) -> Tensor:
        x = self.embedding(torch.tensor([0, 3, 3]))
        return self.last(self.gate * self.norm(self.function(self.first(x))))


def nested(model: nn.Module, directions: Directions) -> Tensor:
    """κ by forward mode over forward mode, at once for all parameters, [directions, prompts]."""
    theta = {n: p.detach() for n, p in model.named_parameters()}
    ratios = []
    for k in range(directions.count):
        delta = {n: directions.tensor(k, n).to(theta[n]) for n in theta}

        def first(values, delta=delta):
            return jvp(lambda v: functional_call(model, v, ()), (values,), (delta,))[1]

        slope, second = jvp(first, (theta,), (delta,))
        ratios.append(second.norm(dim=-1) / slope.norm(dim=-1))
    return torch.stack(ratios)


@pytest.mark.parametrize("few", [0, 32])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_agrees_with_nested_forward_mode(
    few: int, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether W + rδ is formed or not, and whether the radii are measured in float64 or not."""
    monkeypatch.setattr(products, "FEW_ROWS", few)
    model = Network()
    directions = Directions(model, 3)
    measured = measure(model, model, directions, [0.1, 1.0], precision, second_order=True)
    exact = nested(Network().double(), directions)
    # In float32 the slope that κ is divided by has float32's digits.
    tolerance = 1e-4 if precision == "float32" else 1e-6
    torch.testing.assert_close(measured.curvature_ratio, exact, rtol=tolerance, atol=0)


def test_without_forward_mode_it_comes_from_second_differences() -> None:
    model = Network(HiddenForwardMode.apply)
    directions = Directions(model, 2)
    measured = measure(model, model, directions, [0.1], second_order=True)
    assert measured.jvp_method == "central-differences"
    exact = nested(Network().double(), directions)
    torch.testing.assert_close(measured.curvature_ratio, exact, rtol=1e-5, atol=0)


def test_second_differences_are_exact_for_polynomials_up_to_degree_seven() -> None:
    h, powers = 0.5, torch.arange(8, dtype=torch.float64)
    values = {step: (step**powers).sum().reshape(1, 1) for step in steps(h)}
    # f'' = 2 of Σ xⁿ at 0; Richardson's two steps remove h² and h⁴.
    second = extrapolate_second(values, torch.ones(1, 1, dtype=torch.float64), h)
    assert float(second) == pytest.approx(2.0, abs=1e-11)


def test_two_dual_evaluations_per_direction_and_no_more(
    cubic: Cubic, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_linearity.numerics.measurement import jobs

    seen = []

    class Counting(jobs.Lockstep):
        def run(self, evaluations, *args, **kwargs):
            seen.extend(evaluations)
            super().run(evaluations, *args, **kwargs)

    monkeypatch.setattr(jobs, "Lockstep", Counting)
    measure(cubic, cubic, Directions(cubic, 3), [0.1], second_order=True)
    assert sum(e.dual for e in seen) == 6
    assert sum(e.is_jvp for e in seen) == 9


def test_refined_radius_is_that_of_the_closed_form(cubic: Cubic) -> None:
    directions = Directions(cubic, 4)
    limits = Limits(0.05, -1.0)
    radii = [0.001, 10.0]
    refinement = measure(cubic, cubic, directions, radii, limits=limits, refined=True).refinement
    derivatives = closed_forms(cubic, directions)

    def mean_error(r: float) -> float:
        errors = []
        for first, second, third in derivatives:
            error = r**2 / 2 * second + r**3 / 6 * third
            errors.append(float(error.norm() / (r * first + error).norm()))
        return sum(errors) / len(errors)

    assert 0.001 < refinement.low < refinement.high < 10
    assert refinement.high / refinement.low <= 1.05
    assert mean_error(refinement.low) <= 0.05 < mean_error(refinement.high)
    # Halving log(10 / 0.001) until it is below log 1.05 takes eight steps.
    assert len(refinement.evaluated) == math.ceil(math.log2(math.log(1e4) / math.log(1.05)))


@pytest.mark.parametrize("limit", [1e-9, 0.999])
def test_nothing_is_refined_without_a_crossing(cubic: Cubic, limit: float) -> None:
    measured = measure(
        cubic, cubic, Directions(cubic, 2), [0.01, 0.02], limits=Limits(limit, -1.0), refined=True
    )
    assert measured.refinement is None


def test_refining_and_second_order_change_no_other_figure() -> None:
    model = Network()
    directions = Directions(model, 2)
    limits = Limits(0.3, 0.5)
    plain = measure(model, model, directions, [0.1, 5.0], limits=limits)
    more = measure(
        model, model, directions, [0.1, 5.0], limits=limits, second_order=True, refined=True
    )
    assert torch.equal(plain.relative_error, more.relative_error)
    assert plain.precision == more.precision
    truth = brute_force(
        model,
        lambda m: m(),
        [{n: directions.tensor(k, n) for n in directions.names} for k in range(2)],
        [0.1, 5.0],
    )
    torch.testing.assert_close(
        more.relative_error, truth.relative_error([0.1, 5.0]), rtol=1e-2, atol=1e-4
    )
