"""Brute force: the whole model at once, in true float64, sharing no code with the engine.

The model is copied and doubled, and while it runs the names of the narrower dtypes in `torch`
mean float64, so that the casts inside transformers' forwards do nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp
from torch.overrides import TorchFunctionMode

_NARROW = (torch.float32, torch.float16, torch.bfloat16)


def _wide(value):
    return torch.float64 if isinstance(value, torch.dtype) and value in _NARROW else value


class _WideArguments(TorchFunctionMode):
    """Widens the dtypes that were looked up earlier, as the defaults of arguments are."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        named = {name: _wide(value) for name, value in (kwargs or {}).items()}
        return func(*map(_wide, args), **named)


@contextmanager
def true_float64() -> Iterator[None]:
    """Within this block Python code that asks torch for a narrow float gets float64."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    double = torch.Tensor.double
    narrow = ("float32", "float", "float16", "half", "bfloat16")
    try:
        with (
            mock.patch.multiple(torch, **dict.fromkeys(narrow, torch.float64)),
            mock.patch.multiple(torch.Tensor, float=double, half=double, bfloat16=double),
            _WideArguments(),
        ):
            yield
    finally:
        torch.set_default_dtype(default)


@dataclass(frozen=True)
class Truth:
    """What brute force gives, in float64."""

    baseline: Tensor
    """f(θ*), [prompts, V]."""
    tangents: Tensor
    """Jδ, [directions, prompts, V]."""
    changes: Tensor
    """f(θ* + rδ) − f(θ*), [radii, directions, prompts, V]."""

    def relative_error(self, radii: Sequence[float]) -> Tensor:
        """ε, [radii, directions, prompts]."""
        error = torch.stack([self.changes[i] - r * self.tangents for i, r in enumerate(radii)])
        ratio = error.norm(dim=-1) / self.changes.norm(dim=-1)
        return torch.where(self._still, 0.0, ratio)

    def cosine_similarity(self, radii: Sequence[float]) -> Tensor:
        """c, [radii, directions, prompts]."""
        cosine = torch.nn.functional.cosine_similarity(
            self.changes, self.tangents.expand_as(self.changes), dim=-1
        )
        return torch.where(self._still, 1.0, cosine)

    @property
    def _still(self) -> Tensor:
        """Where neither the logits nor their prediction move, which is linear by definition."""
        return (self.changes.norm(dim=-1) == 0) & (self.tangents.norm(dim=-1) == 0)


def brute_force(
    model: nn.Module,
    run: Callable[[nn.Module], Tensor],
    directions: Sequence[dict[str, Tensor]],
    radii: Sequence[float],
) -> Truth:
    """Evaluate everything plainly.

    Args:
        model: The model; left alone.
        run: Runs a copy of it: (module) -> last-token logits, Tensor [prompts, V].
        directions: δ as tensors by parameter name.
        radii: The radii.
    """
    exact = _Runner(copy.deepcopy(model).double(), run)
    theta = {f"model.{n}": p.detach() for n, p in exact.model.named_parameters()}
    deltas = [{f"model.{n}": d.double() for n, d in delta.items()} for delta in directions]

    def at(values: dict[str, Tensor]) -> Tensor:
        return functional_call(exact, {**theta, **values}, ())

    def moved(delta: dict[str, Tensor], step: float) -> Tensor:
        return at({n: theta[n] + step * d for n, d in delta.items()})

    with true_float64(), torch.no_grad():
        baseline = at({})
        tangents = [_derivative(at, moved, theta, delta) for delta in deltas]
        changes = [[moved(delta, r) - baseline for delta in deltas] for r in radii]
    stacked = torch.stack([torch.stack(row) for row in changes])
    return Truth(baseline, torch.stack(tangents), stacked)


def _derivative(at, moved, theta, delta) -> Tensor:
    try:
        return jvp(at, ({n: theta[n] for n in delta},), (delta,))[1]
    except (NotImplementedError, RuntimeError):
        # No forward mode: five-point differences, whose error is of fourth order.
        h = 2e-3
        near, far = moved(delta, h) - moved(delta, -h), moved(delta, 2 * h) - moved(delta, -2 * h)
        return (8 * near - far) / (12 * h)


class _Runner(nn.Module):
    def __init__(self, model: nn.Module, run: Callable[[nn.Module], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.run = run

    def forward(self) -> Tensor:
        return self.run(self.model)
