"""Tangents of a few functions, taken in fewer operations than torch takes.

Torch pairs an operand without a tangent with an explicit zero, which it then multiplies, adds and
copies: ten times the work of the one product that is there. And it takes softmax apart into
exponentials and sums. Forward mode's own rules remain for everything else, and are the oracle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from pytest_linearity.numerics.lockstep.dual import make_dual, unpack_dual


class DualRules(TorchFunctionMode):
    """Takes those tangents, inside a forward on dual numbers."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call by a rule, where there is one for these arguments."""
        rule = _RULES.get(func)
        if rule is not None:
            result = rule(*args, **(kwargs or {}))
            if result is not NotImplemented:
                return result
        return func(*args, **(kwargs or {}))


def _product(first: Any, second: Any, **more: Any) -> Any:
    """d(a · c) = da · c for a constant c; d(a · b) = da · b + a · db."""
    if more or not _alike(first, second):
        return NotImplemented
    a, da = _split(first)
    b, db = _split(second)
    if da is None and db is None:
        return NotImplemented
    if db is None:
        return make_dual(a * b, da * b)
    if da is None:
        return make_dual(a * b, a * db)
    if a.shape != b.shape:
        return NotImplemented
    return make_dual(a * b, (da * b).addcmul_(a, db))


def _sum(first: Any, second: Any, **more: Any) -> Any:
    """d(a + c) = da for a constant c that does not widen the sum."""
    if more or not _alike(first, second):
        return NotImplemented
    a, da = _split(first)
    b, db = _split(second)
    moves = [tangent for tangent in (da, db) if tangent is not None]
    value = a + b
    if len(moves) != 1 or moves[0].shape != value.shape:
        return NotImplemented
    # A copy: the sum may be changed in place.
    return make_dual(value, moves[0].clone())


def _softmax(value: Any, dim: Any = None, *rest: Any, **more: Any) -> Any:
    """For p = softmax(x): dp = p · (dx − Σ p · dx)."""
    if type(value) is not Tensor or not isinstance(dim, int) or rest:
        return NotImplemented
    if more.keys() - {"dtype", "_stacklevel"} or more.get("dtype") not in (None, value.dtype):
        return NotImplemented
    x, dx = _split(value)
    if dx is None:
        return NotImplemented
    p = torch.softmax(x, dim)
    weighted = p * dx
    total = weighted.sum(dim, keepdim=True)
    return make_dual(p, weighted.addcmul_(p, total, value=-1))


def _split(value: Any) -> tuple[Any, Tensor | None]:
    return unpack_dual(value) if type(value) is Tensor else (value, None)


def _alike(first: Any, second: Any) -> bool:
    """Whether neither operand changes the dtype of the other, nor is a placeholder."""
    if type(first) is not Tensor:
        first, second = second, first
    if type(first) is not Tensor or not first.is_floating_point():
        return False
    if type(second) is Tensor:
        return second.dtype == first.dtype
    return type(second) in (int, float)


_RULES: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys([torch.mul, Tensor.mul, torch.multiply, Tensor.multiply], _product),
    **dict.fromkeys([torch.add, Tensor.add], _sum),
    **dict.fromkeys([torch.softmax, Tensor.softmax, functional.softmax], _softmax),
}
