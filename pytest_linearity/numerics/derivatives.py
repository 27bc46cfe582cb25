"""Directional derivatives from values alone, for operations without a forward-mode derivative.

Central differences D(h) = (f(θ + hδ) − f(θ − hδ)) / 2h have an error in even powers of h.
Richardson's extrapolation (L. F. Richardson, The deferred approach to the limit, 1927) of D at
h, h/2 and h/4 removes the first two of them and leaves O(h⁶). In float64 the result has about
twelve correct digits for a sensible h, which `calibration.slopes` finds on a small part of the
work. Second differences (f(θ + hδ) − 2 f(θ) + f(θ − hδ)) / h² have
an error in even powers of h as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

_LEVELS = 3


def steps(h: float) -> tuple[float, ...]:
    """All steps along a direction at which `extrapolate` needs f, largest step h."""
    return tuple(sign * h / 2**level for level in range(_LEVELS) for sign in (1.0, -1.0))


def extrapolate(values: Mapping[float, Tensor], h: float) -> Tensor:
    """The derivative at 0 from values of f.

    Args:
        values: f at every step of `steps(h)`, float64 Tensors [prompts, V].
        h: The largest step.

    Returns:
        Tensor [prompts, V].
    """
    return _richardson([(values[width] - values[-width]) / (2 * width) for width in _widths(h)])


def extrapolate_second(values: Mapping[float, Tensor], baseline: Tensor, h: float) -> Tensor:
    """The second derivative at 0 from values of f.

    Args:
        values: f at every step of `steps(h)`, float64 Tensors [prompts, V].
        baseline: f at 0, float64 Tensor [prompts, V].
        h: The largest step.

    Returns:
        Tensor [prompts, V]; about eight correct digits, as rounding is divided by h².
    """
    column = [(values[w] - 2 * baseline + values[-w]) / w**2 for w in _widths(h)]
    return _richardson(column)


def _widths(h: float) -> list[float]:
    return [h / 2**level for level in range(_LEVELS)]


def _richardson(column: list[Tensor]) -> Tensor:
    """The last entry of the tableau."""
    for order in range(1, _LEVELS):
        weight = 4.0**order
        column = [(weight * finer - coarser) / (weight - 1) for coarser, finer in pairwise(column)]
    return column[0]


_STEP = 1e-3
"""Step of the difference, relative to the smallest radius: its error is O(h²), and in float64 the
rounding of a difference of JVPs is still ten digits below."""


def dual_step(radius: float) -> float:
    """The step h of the two dual evaluations at θ* ± hδ.

    Args:
        radius: The smallest radius, which tells the scale on which the model is looked at.
    """
    return _STEP * radius


def second_derivative(tangents: Mapping[float, Tensor], h: float) -> Tensor:
    """f''[δ, δ] = (J(θ* + hδ)δ − J(θ* − hδ)δ) / 2h + O(h²).

    Args:
        tangents: Jδ at h and −h, float64 Tensors [prompts, V].
        h: The step.

    Returns:
        float64 Tensor [prompts, V].
    """
    return (tangents[h] - tangents[-h]) / (2 * h)


def curvature_ratio(second: Tensor, first: Tensor) -> Tensor:
    """κ = ‖f''[δ, δ]‖ / ‖Jδ‖.

    Args:
        second: f''[δ, δ], Tensor [prompts, V].
        first: Jδ, Tensor [prompts, V].

    Returns:
        float64 Tensor [prompts], one over the unit of the radius; 0 where both derivatives are
        zero, ``inf`` where only Jδ is.
    """
    above, below = second.double().norm(dim=-1), first.double().norm(dim=-1)
    return torch.where(above == 0, torch.zeros_like(above), above / below)
