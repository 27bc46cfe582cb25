"""The optimizer's next step against `torch.optim.AdamW` itself doing one step."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from pytest_linearity import Directions
from pytest_linearity.errors import ConfigError
from pytest_linearity.numerics.directions.vectors.optimizer import OptimizerStep

RATE = 1e-3


def model() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    layers = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3, bias=False)).double()
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return layers


def gradient_of(step: int, parameter: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(parameter.shape, generator=generator, dtype=torch.float64)


def constant(step: int, parameter: Tensor) -> Tensor:
    return gradient_of(0, parameter)


def trained(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int,
    gradient: Callable[[int, Tensor], Tensor] = gradient_of,
) -> list[Tensor]:
    """Make steps; returns what the last one has added to each parameter."""
    before: list[Tensor] = []
    for step in range(steps):
        before = [p.detach().clone() for p in net.parameters()]
        for parameter in net.parameters():
            parameter.grad = gradient(step, parameter)
        optimizer.step()
    return [p.detach() - b for p, b in zip(net.parameters(), before, strict=True)]


def step_of(net: nn.Module, optimizer: torch.optim.Optimizer) -> OptimizerStep:
    (group,) = optimizer.param_groups
    settings = SimpleNamespace(
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        eps=group["eps"],
        weight_decay=group["weight_decay"],
        decoupled=group["decoupled_weight_decay"],
    )
    moments = {}
    for name, parameter in net.named_parameters():
        state = optimizer.state[parameter]
        second = state["max_exp_avg_sq"] if group["amsgrad"] else state["exp_avg_sq"]
        moments[name] = SimpleNamespace(
            first=state["exp_avg"], second=second, step=int(state["step"]), settings=settings
        )
    return OptimizerStep(net, moments, {})


def whole(step: OptimizerStep, net: nn.Module) -> list[Tensor]:
    return [
        step.rows(name, 0, p.shape[0] if p.dim() > 1 else 1).reshape(p.shape)
        for name, p in net.named_parameters()
    ]


@pytest.mark.parametrize("steps", [1, 2, 40])
@pytest.mark.parametrize("more", [{}, {"maximize": True}, {"amsgrad": True}, {"eps": 0.1}], ids=str)
def test_moments_give_back_the_step_that_left_them(steps: int, more: dict[str, object]) -> None:
    """Without decay the last step is a function of the moments alone."""
    net = model()
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.0, **more)
    moved = trained(net, optimizer, steps)
    for ours, theirs in zip(whole(step_of(net, optimizer), net), moved, strict=True):
        # θ of order one is rounded to 1e-16, and has moved by 1e-3.
        torch.testing.assert_close(RATE * ours, theirs, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adam])
def test_the_next_step_is_torchs_where_the_gradient_is_what_the_moments_expect(
    kind: type[torch.optim.Optimizer],
) -> None:
    """A gradient that has always been the same; decay acts on the parameters as they are."""
    net = model()
    optimizer = kind(net.parameters(), RATE, weight_decay=0.0)
    trained(net, optimizer, 30, constant)
    if kind is torch.optim.AdamW:  # Adam's decay is in its gradients, which would change
        optimizer.param_groups[0]["weight_decay"] = 0.1
    expected = whole(step_of(net, optimizer), net)
    moved = trained(net, optimizer, 1, constant)
    for ours, theirs in zip(expected, moved, strict=True):
        torch.testing.assert_close(RATE * ours, theirs, rtol=1e-10, atol=1e-15)


def test_decay_that_goes_through_the_gradient_is_not_taken_twice() -> None:
    net = model()
    optimizer = torch.optim.Adam(net.parameters(), RATE, weight_decay=0.3)
    moved = trained(net, optimizer, 20)
    for ours, theirs in zip(whole(step_of(net, optimizer), net), moved, strict=True):
        torch.testing.assert_close(RATE * ours, theirs, rtol=1e-11, atol=1e-15)


def test_rows_are_those_of_the_whole_and_the_norm_is_that_of_a_rate_of_one() -> None:
    net = model()
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.1)
    trained(net, optimizer, 3)
    step = step_of(net, optimizer)
    tensors = dict(zip(dict(net.named_parameters()), whole(step, net), strict=True))
    assert torch.equal(step.rows("0.weight", 2, 5), tensors["0.weight"][2:5])
    directions = Directions(net, kinds=["optimizer"], vectors={"optimizer": step})
    length = torch.cat([tensor.flatten() for tensor in tensors.values()]).norm()
    (kind,) = directions.describe()["directions"]["kinds"]
    assert kind["norm"] == pytest.approx(float(length), rel=1e-12)
    for name, tensor in tensors.items():
        delta = directions.tensor(0, name).double()
        # A direction is float32.
        torch.testing.assert_close(delta, tensor / length, rtol=1e-6, atol=1e-9)


def test_what_never_had_a_gradient_does_not_move() -> None:
    net = model()
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.0, eps=0.0)

    def half(step: int, parameter: Tensor) -> Tensor:
        gradient = gradient_of(step, parameter)
        gradient.view(-1)[::2] = 0.0
        return gradient

    for parameter in net.parameters():
        parameter.grad = half(0, parameter)
    for parameter in net.parameters():
        optimizer.state[parameter] = {
            "step": torch.tensor(1.0),
            "exp_avg": 0.1 * parameter.grad,
            "exp_avg_sq": 0.001 * parameter.grad**2,
        }
    for rows in whole(step_of(net, optimizer), net):
        assert torch.equal(rows.view(-1)[::2], torch.zeros_like(rows.view(-1)[::2]))
        assert rows.view(-1)[1::2].abs().sub(1).abs().max() < 1e-12


def test_a_state_that_moves_nothing_is_refused() -> None:
    net = model()
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.0)
    trained(net, optimizer, 2, lambda step, parameter: torch.zeros_like(parameter))
    with pytest.raises(ConfigError, match="optimizer would not move any parameter in scope"):
        Directions(net, kinds=["optimizer"], vectors={"optimizer": step_of(net, optimizer)})
