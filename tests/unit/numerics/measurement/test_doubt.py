"""With `auto`, what float32 may have got wrong is measured in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pytest_linearity import Directions, Measurement, measure
from pytest_linearity.numerics.calibration.calibration import calibrate
from pytest_linearity.numerics.routing import Selections, margin_noise, near_ties
from tests.support.oracle import brute_force

RADII = (0.1, 1.0)


class Buckets(nn.Module):
    """A layer, and for each token one of two offsets, by which of two of its features is larger."""

    def __init__(self, pick: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = nn.Linear(16, 12)
            self.offsets = nn.Parameter(torch.randn(2, 12))
            self.plain, self.tied = torch.randn(2, 3, 16), torch.randn(4000, 16)
        self.pick = pick
        self.tied = self._tied()

    def _tied(self) -> Tensor:
        """Inputs of which float32 chooses another offset than float64."""
        with torch.no_grad():
            weight, bias = self.layer.weight.double(), self.layer.bias.double()
            apart, between = weight[0] - weight[1], bias[0] - bias[1]
            x = self.tied.double()
            x = (x - ((x @ apart + between) / apart.square().sum())[:, None] * apart).float()
            exact = x.double() @ weight.T + bias
            coarse = self.layer(x)
            differ = (exact[:, 0] > exact[:, 1]) != (coarse[:, 0] > coarse[:, 1])
        assert differ.sum() >= 3
        return x[differ][:3]

    def run(self, x: Tensor) -> Tensor:
        h = self.layer(x.to(self.layer.weight.dtype))
        return torch.tanh(h) + self.offsets[self.pick(h[:, :2])]


PICKS = {
    "argmax": lambda scores: scores.argmax(-1),
    "topk": lambda scores: scores.topk(1).indices[:, 0],
    # No choice that is looked for: only the logits tell.
    "comparison": lambda scores: (scores[:, 1] > scores[:, 0]).long(),
}


def measured(model: Buckets, radii: tuple[float, ...], precision: str = "auto") -> Measurement:
    """Calibration and first batch are far from any tie, the second batch is not."""
    runs = [lambda: model.run(model.plain[0]), lambda: model.run(model.tied)]
    return measure(model, runs, Directions(model, 2), radii, precision)


def truth(model: Buckets, radii: tuple[float, ...]) -> Tensor:
    directions = Directions(model, 2)
    deltas = [{n: directions.tensor(k, n) for n in directions.names} for k in range(2)]
    x = torch.cat([model.plain[0], model.tied])
    return brute_force(model, lambda m: m.run(x.double()), deltas, radii).relative_error(radii)


@pytest.mark.parametrize("pick", ["argmax", "topk"])
def test_a_choice_that_rounding_may_turn_is_made_in_float64(pick: str) -> None:
    model = Buckets(PICKS[pick])
    result = measured(model, RADII)
    assert result.precision == ("float64", "float64")
    torch.testing.assert_close(result.relative_error, truth(model, RADII), rtol=1e-8, atol=1e-10)
    # It is not that float32 would not do here otherwise, nor that choices are made at all.
    alone = measure(model, lambda: model.run(model.plain[0]), Directions(model, 2), RADII)
    assert alone.precision == ("float32", "float32")


@pytest.mark.parametrize("pick", list(PICKS))
def test_float32_changes_do_not_meet_a_float64_derivative(pick: str) -> None:
    """The smallest radius asks for float64, whose derivative serves the larger ones, too."""
    radii = (1e-5, *RADII)
    model = Buckets(PICKS[pick])
    result = measured(model, radii)
    assert result.precision == ("float64",) * 3
    torch.testing.assert_close(result.relative_error, truth(model, radii), rtol=1e-6, atol=1e-8)


def test_a_choice_that_differs_in_calibration_is_in_the_floor() -> None:
    model = Buckets(PICKS["argmax"])
    directions = Directions(model, 2)

    def run() -> Tensor:
        return model.run(model.tied)

    assert measure(model, run, directions, RADII).precision == ("float64", "float64")
    coarse = measure(model, run, directions, RADII, "float32")
    with torch.no_grad():
        jump = (model.offsets[0] - model.offsets[1]).norm()
        # Offsets of which the derivative knows nothing: Δ at this radius is about as large.
        assert coarse.noise_floor[0] is not None
        assert coarse.noise_floor[0] > 0.1 * float(jump)


class Constant(nn.Module):
    """A choice that no parameter moves, and that float32 does not see."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = nn.Linear(4, 6)
            self.register_buffer("x", torch.randn(3, 4))
            self.register_buffer("offsets", torch.randn(2, 6))
        self.register_buffer("scores", torch.tensor([1.0, 1 + 1e-12], dtype=torch.float64))

    def forward(self) -> Tensor:
        return torch.tanh(self.layer(self.x)) + self.offsets[self.scores.argmax()]


def test_a_choice_that_float32_makes_wrongly_everywhere_does_not_cancel() -> None:
    """It does in a change of logits, and the derivative of float64 knows of the other choice."""
    model = Constant()
    known = calibrate(model, model, Directions(model, 1), 0.1, torch.device("cpu"))
    assert known.unsteady
    assert not known.float32_carries(1e6)
    jump = float((model.offsets[0] - model.offsets[1]).norm())
    assert known.float32.change == pytest.approx(jump, rel=1e-5)
    assert known.float64.change < 1e-8


def test_ties_are_near_or_structural_or_none() -> None:
    noted, other = Selections(), Selections()
    scores = torch.tensor(
        [[1.0, 0.5, 0.5 - 1e-6, 0.0], [4.0, 3.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0], [9, 8, 7, 6.0]]
    )
    with noted:
        scores.topk(2, dim=-1)
        scores.topk(4)  # all of them
        scores[:2].argmax(dim=-1)
        torch.tensor([[1, 1], [2, 2]]).argmax(dim=-1)  # of integers
    assert near_ties(noted, 1e-5) == 1
    assert near_ties(noted, 0.4) == 3  # and 7 against 8, of 9, and 3 against 4, of 4
    real = torch.tensor([False, True, True, True])
    assert near_ties(noted, 1e-5, real) == 0
    with other:
        (scores + torch.tensor([0.0, 0.0, 1e-3, 0.0])).topk(2, dim=-1)
    # 1e-3 of a score of 9 in the last row, of 1 in the first.
    assert margin_noise(noted, other) == pytest.approx(1e-3, rel=1e-2)


class Overflowing(nn.Module):
    """log(Σ exp(h + 80) · e⁸) in float32 is infinite beyond h of about 0.7."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = nn.Linear(8, 20)
            self.register_buffer("x", torch.randn(3, 8))
        self.shift = shift

    def forward(self) -> Tensor:
        return torch.log(torch.exp(self.layer(self.x) + self.shift) + 1)


@pytest.mark.parametrize("shift", [80.0, 90.0], ids=["at large radii", "everywhere"])
def test_what_is_not_finite_is_tried_in_float64(shift: float) -> None:
    model, radii = Overflowing(shift), (0.3, 30.0)
    directions = Directions(model, 2)
    result = measure(model, model, directions, radii)
    assert result.precision[1] == "float64"
    deltas = [{n: directions.tensor(k, n) for n in directions.names} for k in range(2)]
    truth = brute_force(model, lambda m: m(), deltas, radii)
    torch.testing.assert_close(
        result.relative_error, truth.relative_error(radii), rtol=1e-2, atol=1e-4
    )
    assert all(floor is not None and floor < 1e-4 for floor in result.noise_floor)
    coarse = measure(model, model, directions, radii, "float32")
    assert not coarse.relative_error[1].isfinite().all()


@pytest.mark.parametrize("precision", ["auto", "float32", "float64"])
@pytest.mark.parametrize("forward_mode", [True, False], ids=["forward", "differences"])
def test_logits_that_are_infinite_at_one_radius_are_undefined_there(
    precision: str, *, forward_mode: bool
) -> None:
    class Pole(Overflowing):
        def forward(self) -> Tensor:
            h = self.layer(self.x)
            far = (h - self.start).abs().amax() > 1
            h = h if forward_mode else _Copy.apply(h)
            return torch.cat([h[:, 1:], torch.where(far, torch.inf, h[:, :1])], dim=1)

    model = Pole(0.0)
    with torch.no_grad():
        model.register_buffer("start", model.layer(model.x))
    result = measure(model, model, Directions(model, 2), (0.1, 30.0), precision)
    assert result.jvp_method == ("forward-mode" if forward_mode else "central-differences")
    assert result.relative_error[0].max() < 1e-4
    assert result.relative_error[1].isnan().all()
    assert result.cosine_similarity[1].isnan().all()
    assert result.noise_floor[1] is None


class _Copy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()
