"""Where parts of a measurement meet: each figure must be that of its own pair and arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pytest_linearity import Directions, Measurement, Setup, measure
from pytest_linearity.numerics.calibration.calibration import calibrate
from pytest_linearity.numerics.directions.vectors.tensors import TensorVector
from pytest_linearity.numerics.measurement.limits import Limits
from pytest_linearity.numerics.measurement.running import RunningMeasurement
from tests.support.oracle import brute_force


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Waves(nn.Module):
    """sin(w·x + phase) of each prompt's own x, in as many logits as there are phases."""

    def __init__(self, prompts: int = 6, speed: float = 1.0, dtype: torch.dtype = torch.float64):
        super().__init__()
        self.w = nn.Parameter(normal(10).to(dtype))
        # Prompts of very different curvature, so that none can stand in for another.
        self.x = (normal(prompts, 10, seed=1) * torch.logspace(-1, 1, prompts)[:, None]).to(dtype)
        self.x *= speed
        self.phase = normal(4, seed=2).to(dtype)

    def of(self, prompts: slice) -> Part:
        return Part(self, prompts)


class Part:
    """The call of some prompts."""

    def __init__(self, model: Waves, prompts: slice) -> None:
        self._model, self._prompts = model, prompts

    def __call__(self) -> Tensor:
        angle = (self._model.w * self._model.x[self._prompts]).sum(dim=1, keepdim=True)
        return torch.sin(angle + self._model.phase)


ALL, CPU = slice(None), torch.device("cpu")


def kappa(model: Waves, delta: Tensor) -> Tensor:
    """‖f''[δ, δ]‖ / ‖Jδ‖ by hand, Tensor [prompts]."""
    angle = (model.w.detach() * model.x).sum(dim=1, keepdim=True) + model.phase
    turn = (model.x @ delta)[:, None]
    return (turn**2 * angle.sin()).norm(dim=1) / (turn * angle.cos()).norm(dim=1)


class TestSecondDerivatives:
    def test_do_not_depend_on_the_other_radii(self) -> None:
        """Seen at the scale of the smallest: the largest is many waves away."""
        model = Waves(speed=3.0)
        directions = Directions(model, 2)
        alone = measure(model, model.of(ALL), directions, [1e-3], second_order=True)
        among = measure(model, model.of(ALL), directions, [1e-3, 100.0], second_order=True)
        assert torch.equal(alone.curvature_ratio, among.curvature_ratio)
        for k in range(2):
            exact = kappa(model, directions.tensor(k, "w").double())
            torch.testing.assert_close(among.curvature_ratio[k], exact, rtol=1e-5, atol=0)

    def test_are_in_the_order_of_the_prompts_however_they_are_batched(self) -> None:
        model = Waves()
        directions = Directions(model, 2)
        batches = [model.of(slice(0, 1)), model.of(slice(1, 4)), model.of(slice(4, 6))]
        measured = measure(model, batches, directions, [1e-3], second_order=True)
        for k in range(2):
            exact = kappa(model, directions.tensor(k, "w").double())
            torch.testing.assert_close(measured.curvature_ratio[k], exact, rtol=1e-5, atol=0)


class Blocks(nn.Module):
    """Two blocks that bend, each prompt as much as its own x says; hidden states of one token."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Bend(0), Bend(1)])
        self.x = normal(5, 1, 3, seed=4) * torch.logspace(-1, 1, 5)[:, None, None]

    def of(self, *prompts: int) -> Tapped:
        return Tapped(self, list(prompts))


class Bend(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.w = nn.Parameter(normal(3, seed=seed))

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(x * self.w)


class Tapped:
    def __init__(self, model: Blocks, prompts: list[int]) -> None:
        self._model, self._prompts = model, prompts
        self.needed = torch.ones(len(prompts), dtype=torch.bool)

    def __call__(self) -> Tensor:
        x = self._model.x[self._prompts]
        for block in self._model.blocks:
            x = block(x)
        return x[:, -1]


def test_layer_profiles_are_in_the_order_of_the_prompts_however_they_are_batched() -> None:
    model = Blocks()
    directions, radii = Directions(model, 2), [0.1, 1.0]
    blocks = {"first": model.blocks[0], "last": model.blocks[1]}

    def profile(*batches: Tapped) -> Measurement:
        return measure(model, batches, directions, radii, blocks=blocks)

    together = profile(model.of(0, 1, 2, 3, 4))
    apart = profile(model.of(0, 1), model.of(2), model.of(3, 4))
    assert len(together.layers.relative_error.unique()) == 2 * 2 * 2 * 5  # no two are the same
    for name in ("relative_error", "cosine_similarity"):
        one, other = getattr(together.layers, name), getattr(apart.layers, name)
        # A row's rounding may depend on how many rows there are.
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-12)
        # What the last block returns is what is measured.
        torch.testing.assert_close(one[:, 1], getattr(together, name), rtol=1e-9, atol=1e-12)
    first = model.x[:, 0] + 0.0
    for k in range(2):
        w, delta = model.blocks[0].w.detach(), directions.tensor(k, "blocks.0.w").double()
        change = torch.tanh(first * (w + delta)) - torch.tanh(first * w)
        predicted = first * delta / torch.cosh(first * w) ** 2
        exact = (change - predicted).norm(dim=1) / change.norm(dim=1)
        torch.testing.assert_close(apart.layers.relative_error[1, 0, k], exact, rtol=1e-9, atol=0)


class TestArithmetic:
    def test_what_is_measured_again_takes_its_derivative_again(self) -> None:
        """A verdict at the limit asks for float64: nothing of float32 may be left in it."""
        model = Waves(prompts=3, dtype=torch.float32)
        directions = Directions(model, 2)
        exact = measure(model, model.of(ALL), directions, [0.1], "float64")
        limits = Limits(float(exact.relative_error.mean()) * (1 + 1e-9), -1.0)
        assert measure(model, model.of(ALL), directions, [0.1]).precision == ("float32",)
        settled = measure(model, model.of(ALL), directions, [0.1], limits=limits)
        assert settled.precision == ("float64",)
        # float32's derivative alone is off by 1e-7.
        torch.testing.assert_close(settled.relative_error, exact.relative_error, rtol=1e-12, atol=0)

    def test_a_radius_that_refining_adds_is_settled_like_any_other(self) -> None:
        """Bisection ends where rounding decides."""
        model = Waves(prompts=3, dtype=torch.float32)
        directions = Directions(model, 2)
        between = float((0.1 * 0.4) ** 0.5)  # where bisection looks first
        exact = measure(model, model.of(ALL), directions, [between], "float64").relative_error
        limits = Limits(float(exact.mean()), -1.0)
        setup = Setup(model, [model.of(ALL)], directions, CPU)
        work = RunningMeasurement(setup, calibrate(model, model.of(ALL), directions, 0.1, CPU))
        work.measure(range(2), [0.1, 0.4])
        work.add(between, limits, range(2))
        assert work.dtypes == {0.1: torch.float32, 0.4: torch.float32, between: torch.float64}
        torch.testing.assert_close(
            work.figures.values(between)[0].values, exact[0], rtol=1e-12, atol=0
        )

    @pytest.mark.parametrize("cast", ["half", "bfloat16", "float"])
    def test_casts_inside_a_forward_do_not_reach_float64(self, cast: str) -> None:
        class Casting(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.w = nn.Parameter(normal(6).float())
                self.x = normal(2, 6, seed=1).float()

            def forward(self) -> Tensor:
                return getattr(torch.tanh(self.x * self.w), cast)() * self.w

        model = Casting()
        directions = Directions(model, 1)
        measured = measure(model, model, directions, [1e-3], "float64")
        w, x = model.w.detach().double(), model.x.double()
        delta = directions.tensor(0, "w").double()

        def f(w: Tensor) -> Tensor:
            return torch.tanh(x * w) * w

        change = f(w + 1e-3 * delta) - f(w)
        slope = delta * (torch.tanh(x * w) + w * x / torch.cosh(x * w) ** 2)
        exact = (change - 1e-3 * slope).norm(dim=1) / change.norm(dim=1)
        torch.testing.assert_close(measured.relative_error[0, 0], exact, rtol=1e-8, atol=0)


class Tables(nn.Module):
    """Looks rows up in one of several tables that are one parameter."""

    def __init__(self, which: int) -> None:
        super().__init__()
        self.tables = nn.Parameter(normal(3, 7, 4))
        self.ids = torch.tensor([[1, 5], [6, 0]])
        self.which = which

    def forward(self) -> Tensor:
        return torch.tanh(functional.embedding(self.ids, self.tables[self.which]).sum(dim=1))


@pytest.mark.parametrize("which", [0, 1, 2, -1])
def test_rows_of_one_table_of_several_move_along_their_own_direction(which: int) -> None:
    model = Tables(which)
    directions, radii = Directions(model, 2), (0.1, 1.0)
    measured = measure(model, model, directions, radii)
    for k in range(2):
        table = model.tables[which].detach()
        delta = directions.tensor(k, "tables").double()[which]
        at = table[model.ids].sum(dim=1)
        along = delta[model.ids].sum(dim=1)
        for i, r in enumerate(radii):
            change = torch.tanh(at + r * along) - torch.tanh(at)
            error = change - r * along / torch.cosh(at) ** 2
            exact = error.norm(dim=1) / change.norm(dim=1)
            torch.testing.assert_close(measured.relative_error[i, k], exact, rtol=1e-9, atol=0)


class Ridge(nn.Module):
    """Steep along one axis and nearly flat along the other: (w₀, 40 w₀²) and (w₁, w₁² / 40)."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def forward(self) -> Tensor:
        w, bend = self.w, torch.tensor([40.0, 1 / 40])
        return torch.cat([w, bend * w**2])[None]


def test_every_kind_must_comply_for_a_refined_radius() -> None:
    """ε along axis i is b r / √(1 + b² r²): 0.2 at r = 0.2 / (b √(1 − 0.04))."""
    model = Ridge()
    axes = {
        name: TensorVector(name, "", {"w": torch.eye(2, dtype=torch.float64)[i]})
        for i, name in enumerate(["steep", "flat"])
    }
    # Three of four directions are flat: the mean over all complies for longer than one alone.
    directions = Directions(model, 1, kinds=["flat", "-flat", "steep"], vectors=axes)
    limits = Limits(0.2, -1.0)
    measured = measure(model, model, directions, [1e-3, 1.0], limits=limits, refined=True)
    crossing = 0.2 / (40 * (1 - 0.04) ** 0.5)
    assert measured.refinement.low <= crossing <= measured.refinement.high
    assert measured.refinement.high / measured.refinement.low <= 1.05


class Padded(nn.Module):
    """What a batch of prompts of several shapes is: nothing of one may reach another."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 6, dtype=torch.float64)
        self.out = nn.Linear(6, 5, dtype=torch.float64)
        with torch.no_grad():
            for seed, parameter in enumerate(self.parameters()):
                parameter.copy_(normal(*parameter.shape, seed=seed))

    def run(self, ids: list[int]) -> Tensor:
        return self.out(torch.tanh(self.embedding(torch.tensor([ids]))).mean(dim=1))


def test_figures_of_batches_of_unlike_shapes_are_those_of_brute_force() -> None:
    model = Padded()
    prompts = [[1, 2, 3, 4], [5], [6, 7]]
    directions, radii = Directions(model, 2), (0.1, 2.0)
    batches = [lambda ids=ids: model.run(ids) for ids in prompts]
    measured = measure(model, batches, directions, radii, second_order=True)
    deltas = [{n: directions.tensor(k, n) for n in directions.names} for k in range(2)]
    true = brute_force(
        model, lambda twin: torch.cat([twin.run(ids) for ids in prompts]), deltas, radii
    )
    torch.testing.assert_close(
        measured.relative_error, true.relative_error(radii), rtol=1e-9, atol=1e-12
    )
    torch.testing.assert_close(
        measured.cosine_similarity, true.cosine_similarity(radii), rtol=1e-9, atol=1e-12
    )


class Numb(nn.Module):
    """Moves along one of two axes only."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(2, dtype=torch.float64))

    def forward(self) -> Tensor:
        return torch.tanh(self.w[1:])[None]


@pytest.mark.parametrize("kinds", [["numb", "moving"], ["moving", "numb"]])
def test_a_radius_is_still_only_if_no_direction_moves_it(kinds: list[str]) -> None:
    model = Numb()
    axes = torch.eye(2, dtype=torch.float64)
    vectors = {
        "numb": TensorVector("numb", "", {"w": axes[0]}),
        "moving": TensorVector("moving", "", {"w": axes[1]}),
    }

    def still(*kinds: str) -> tuple[bool, ...]:
        directions = Directions(model, 1, kinds=kinds, vectors=vectors)
        return measure(model, model, directions, [0.1]).still

    assert still("numb") == (True,)
    assert still(*kinds) == (False,)


def test_a_kind_has_its_own_first_direction_wherever_it_stands() -> None:
    model = Numb()
    vectors = {"mine": TensorVector("mine", "", {"w": torch.ones(2)})}
    after = Directions(model, 3, kinds=["mine", "gaussian"], vectors=vectors)
    alone = Directions(model, 3)
    for k in range(3):
        assert torch.equal(after.tensor(1 + k, "w"), alone.tensor(k, "w"))
