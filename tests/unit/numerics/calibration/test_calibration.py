"""What calibration says of a model, against closed forms and a truth of many digits."""

from __future__ import annotations

from dataclasses import replace

import mpmath
import pytest
import torch
from torch import Tensor, nn

from pytest_linearity import Directions, measure
from pytest_linearity.numerics.calibration.calibration import RoundingNoise, calibrate, carries

CPU = torch.device("cpu")


class Parabola(nn.Module):
    """Logits a·w v₁ + (b·w)² v₂ with orthogonal v, whose curvature along δ is known."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.w = nn.Parameter(torch.randn(40, generator=generator, dtype=torch.float64))
        self.a = torch.randn(40, generator=generator, dtype=torch.float64)
        self.b = torch.randn(40, generator=generator, dtype=torch.float64)

    def forward(self) -> Tensor:
        return torch.stack([self.w @ self.a, (self.w @ self.b) ** 2])[None]

    def curvature(self, delta: Tensor, radius: float) -> float:
        """ε(r) / r."""
        bend = (self.b @ delta) ** 2
        slope = 2 * (self.w @ self.b) * (self.b @ delta)
        change = torch.stack([radius * (self.a @ delta), radius * slope + radius**2 * bend])
        return float((radius * bend / change.norm()).detach())


@pytest.mark.parametrize("radius", [1e-3, 1e-2])
def test_curvature_is_per_unit_of_the_radius(radius: float) -> None:
    model = Parabola()
    directions = Directions(model, 1)
    calibration = calibrate(model, model, directions, radius, CPU)
    exact = model.curvature(directions.tensor(0, "w").double(), radius)
    # Rounding of f(θ + rδ) − f(θ) in float64, over a change of the second order in r.
    assert calibration.curvature == pytest.approx(exact, rel=1e-6)


class Rounded(nn.Module):
    """A network in float32 whose logits can be scaled."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first, self.last = nn.Linear(16, 32), nn.Linear(32, 8)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
        self.register_buffer("x", torch.randn(3, 16, generator=generator))
        self.scale = scale

    def forward(self) -> Tensor:
        return self.scale * self.last(torch.tanh(self.first(self.x)))


@pytest.mark.parametrize("scale", [2.0**10, 2.0**-10])
def test_rounding_is_relative(scale: float) -> None:
    """Logits in another unit have the same figures: a power of two changes no digit."""

    def floor(scale: float) -> tuple[float, list[float]]:
        model = Rounded(scale)
        directions = Directions(model, 2)
        calibration = calibrate(model, model, directions, 0.01, CPU)
        measured = measure(model, model, directions, [0.01, 1.0], "float32")
        return calibration.float32.derivative, list(measured.noise_floor)

    jvp_noise, floors = floor(1.0)
    assert jvp_noise > 1e-9
    scaled_noise, scaled_floors = floor(scale)
    assert scaled_noise == pytest.approx(jvp_noise, rel=1e-9)
    assert scaled_floors == pytest.approx(floors, rel=1e-9)


def test_the_floor_of_a_radius_is_the_mean_over_its_pairs() -> None:
    """One prompt that hardly moves has a floor of its own, which a mean change would hide."""

    class Uneven(Rounded):
        def forward(self) -> Tensor:
            return super().forward() * torch.tensor([[1.0], [1e-3], [1.0]])

    model = Uneven(1.0)
    directions = Directions(model, 2)
    calibration = calibrate(model, model, directions, 0.01, CPU)
    measured = measure(model, model, directions, [0.01], "float32")
    weights = {name: parameter.detach().double() for name, parameter in model.named_parameters()}

    def logits(step: float, k: int) -> Tensor:
        at = {n: v + step * directions.tensor(k, n).double() for n, v in weights.items()}
        hidden = torch.tanh(model.x.double() @ at["first.weight"].T + at["first.bias"])
        rows = hidden @ at["last.weight"].T + at["last.bias"]
        return rows * torch.tensor([[1.0], [1e-3], [1.0]], dtype=torch.float64)

    changes = torch.stack([(logits(0.01, k) - logits(0.0, k)).norm(dim=1) for k in range(2)])
    # φ of each pair: noise of the change and of the derivative, unrelated to each other.
    noise = calibration.float32
    pairs = ((noise.change / changes) ** 2 + noise.derivative**2).sqrt()
    # The changes measured in float32 are off by up to that floor, of the smallest by some percent.
    assert measured.noise_floor[0] == pytest.approx(float(pairs.mean()), rel=0.2)


class Scalar(nn.Module):
    """tanh(w x) of one entry: a hundred prompts, whose truth mpmath gives to any digit."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.7], dtype=torch.float64))
        # Of one order, as noise is taken to be the same for all prompts.
        self.x = torch.linspace(0.5, 1.5, 100, dtype=torch.float64)[:, None]

    def forward(self) -> Tensor:
        return torch.tanh(self.x * self.w)


def test_the_floor_in_float64_is_what_a_truth_of_many_digits_says() -> None:
    """At radii where rounding is all there is of ε, the floor is of its size."""
    model = Scalar()
    radius = 1e-9
    measured = measure(model, model, Directions(model, 1), [radius], "float64")
    sign = float(Directions(model, 1).tensor(0, "w")[0])
    deviations = []
    with mpmath.workdps(60):
        w, step = mpmath.mpf(float(model.w[0].detach())), mpmath.mpf(radius) * sign
        for place, (x,) in enumerate(model.x.tolist()):
            change = mpmath.tanh(x * (w + step)) - mpmath.tanh(x * w)
            predicted = step * x * (1 - mpmath.tanh(x * w) ** 2)
            truth = abs((change - predicted) / change)
            deviations.append(abs(float(measured.relative_error[0, 0, place]) - float(truth)))
    deviation = sum(deviations) / len(deviations)
    floor = measured.noise_floor[0]
    assert deviation > 1e-9  # rounding is there to be seen
    # The floor comes from a few evaluations: it is right to its order.
    assert deviation / 10 < floor < deviation * 10


def test_float32_carries_where_the_floor_is_a_tenth_of_the_error() -> None:
    """noise / (r slope) against 0.1 curvature r, with the safety that one prompt asks for."""
    model = Parabola()
    calibration = replace(
        calibrate(model, model, Directions(model, 1), 0.01, CPU),
        float32=RoundingNoise(1e-4, 0.0),
        slope=2.0,
        curvature=1.0,
    )
    # 1.5 · 1e-4 / (2 r) ≤ 0.1 r, so r ≥ √(7.5e-4) = 0.0274.
    assert calibration.float32_carries(0.028)
    assert not calibration.float32_carries(0.027)


@pytest.mark.parametrize(("error", "floor", "enough"), [(0.0, 6e-5, True), (0.0, 7e-5, False)])
def test_a_small_error_need_be_exact_to_1e_4_only(error: float, floor: float, enough: bool) -> None:
    """1.5 floor ≤ 1e-4."""
    assert carries(error, floor) is enough
