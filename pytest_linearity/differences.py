"""Directional derivatives from values alone, for operations without a forward-mode derivative.

Central differences D(h) = (f(θ + hδ) − f(θ − hδ)) / 2h have an error in even powers of h.
Richardson's extrapolation (L. F. Richardson, The deferred approach to the limit, 1927) of D at
h, h/2 and h/4 removes the first two of them and leaves O(h⁶). In float64 the result has about
twelve correct digits for a sensible h, which is chosen on a small part of the work by comparing
the last two columns of the tableau.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor

_LEVELS = 3

CANDIDATES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
"""Largest steps that are tried, in units of the parameters' Euclidean norm."""


def steps(h: float) -> tuple[float, ...]:
    """All steps along a direction at which `extrapolate` needs f, largest step h."""
    return tuple(sign * h / 2**level for level in range(_LEVELS) for sign in (1.0, -1.0))


def extrapolate(values: Mapping[float, Tensor], h: float) -> tuple[Tensor, float]:
    """The derivative at 0 from values of f.

    Args:
        values: f at every step of `steps(h)`, float64 Tensors [prompts, V].
        h: The largest step.

    Returns:
        The derivative, Tensor [prompts, V], and an estimate of its relative error.
    """
    widths = [h / 2**level for level in range(_LEVELS)]
    column = [(values[width] - values[-width]) / (2 * width) for width in widths]
    previous = column[-1]
    for order in range(1, _LEVELS):
        previous = column[-1]
        weight = 4.0**order
        column = [(weight * finer - coarser) / (weight - 1) for coarser, finer in pairwise(column)]
    size = float(column[0].norm())
    error = float((column[0] - previous).norm())
    return column[0], error / size if size else error
