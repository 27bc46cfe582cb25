"""Derivatives that forward mode cannot give, or would give wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from pytest_linearity import Directions, Measurement, measure
from pytest_linearity.errors import MeasurementError

RADIUS = 1e-3


class Net(nn.Module):
    """Two layers and a scale, with a function in between: (hidden [3, 5], scale) -> the same."""

    def __init__(self, between: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 6)
            self.x = torch.randn(3, 4)
        self.scale = nn.Parameter(torch.tensor(1.3))
        self.between = between

    def forward(self) -> Tensor:
        return self.last(self.between(self.first(self.x).tanh(), self.scale))


def measured(model: nn.Module, scope: str = "full", radius: float = RADIUS) -> Measurement:
    return measure(model, model, Directions(model, 2, scope=scope), [radius], "float64")


@pytest.mark.parametrize(
    "between",
    [
        lambda h, s: h.detach() * s,
        lambda h, s: h.data * s,
        lambda h, s: h * s.item(),
        lambda h, s: h * float(s),
        lambda h, s: h * torch.from_numpy(h.detach().numpy()) * s,
    ],
    ids=["detach", "data", "item", "float", "numpy"],
)
def test_a_tangent_that_gets_lost_is_noticed(between: Any) -> None:
    """The logits still depend on what was cut off: ε would not vanish with r."""
    result = measured(Net(between))
    assert result.jvp_method == "central-differences"
    assert "loses part of the derivative" in (result.no_forward_mode or "")
    assert result.relative_error.max() < 10 * RADIUS


@pytest.mark.parametrize(
    "between",
    [lambda h, s: h * s.detach(), lambda h, s: h * s.data, lambda h, s: h * torch.detach(s)],
    ids=["detach", "data", "torch.detach"],
)
def test_a_parameter_that_is_detached_keeps_its_tangent(between: Any) -> None:
    result = measured(Net(between))
    assert result.jvp_method == "forward-mode"
    assert torch.equal(result.relative_error, measured(Net(lambda h, s: h * s)).relative_error)


@pytest.mark.parametrize("kink", [F.relu, torch.abs, lambda h: h.clamp(-0.2, 0.2)])
def test_kinks_do_not_look_like_lost_tangents(kink: Any) -> None:
    assert measured(Net(lambda h, s: kink(h) * s)).jvp_method == "forward-mode"


class Inside(torch.autograd.Function):
    """Applies a layer inside a custom function, as reversible networks do."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Module) -> Tensor:
        return layer(x)


class Reversible(nn.Module):
    """Two blocks inside custom functions; the first input is the same for all evaluations."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
            self.x = torch.randn(3, 4)

    def forward(self) -> Tensor:
        x = self.x
        for block in self.blocks:
            x = Inside.apply(x, block).tanh()
        return x


@pytest.mark.parametrize("scope", ["full", "last_blocks:1"])
def test_parameters_used_inside_a_custom_function(scope: str) -> None:
    """Forward mode is off in there, and says so only where an input has a tangent."""
    result = measured(Reversible(), scope)
    assert result.jvp_method == "central-differences"
    assert "blocks" in (result.no_forward_mode or "")
    assert result.relative_error.max() < 10 * RADIUS


def test_forward_mode_works_after_a_custom_function_was_suspended() -> None:
    """Inside of one torch switches it off for the thread: the next model must not inherit that."""
    measured(Reversible())
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(torch.ones(2), torch.ones(2))
        assert forward_ad.unpack_dual(2 * dual).tangent is not None


@pytest.mark.parametrize("radius", [0.3, 0.1, 0.03, 0.01, 0.003, 0.001])
def test_a_radius_that_is_also_a_step_of_the_differences(radius: float) -> None:
    assert measured(Reversible(), radius=radius).jvp_method == "central-differences"


def test_fused_attention_has_forward_mode() -> None:
    def attend(h: Tensor, s: Tensor) -> Tensor:
        q = h[None, None]
        return F.scaled_dot_product_attention(q * s, q, q, is_causal=True)[0, 0]

    fused = torch.backends.cuda.flash_sdp_enabled()
    assert measured(Net(attend)).jvp_method == "forward-mode"
    assert torch.backends.cuda.flash_sdp_enabled() is fused


def _set_data(h: Tensor, scale: Tensor) -> Tensor:
    scale.data = scale * 2
    return h * scale


@pytest.mark.parametrize(
    "between",
    [lambda h, s: h * s.mul_(2), lambda h, s: h * torch.relu_(s), _set_data],
    ids=["method", "function", "data"],
)
def test_a_forward_that_changes_a_parameter_is_refused(between: Any) -> None:
    model = Net(between)
    with pytest.raises(MeasurementError, match=r"changes parameter 'scale' in place"):
        measured(model)
    assert model.scale.item() == pytest.approx(1.3)


def test_a_forward_that_changes_a_parameter_only_once_is_refused() -> None:
    """It must be refused the first time: later forwards would find the change not done."""
    done = []

    def rescale(h: Tensor, scale: Tensor) -> Tensor:
        if not done:
            done.append(True)
            scale.div_(2)
        return h * scale

    with pytest.raises(MeasurementError, match="in place"):
        measured(Net(rescale))
