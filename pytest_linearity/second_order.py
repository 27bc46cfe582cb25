"""The second directional derivative f''[δ, δ], and what it predicts.

By Taylor's theorem f(θ + rδ) − f(θ) = r Jδ + (r²/2) f''[δ, δ] + O(r³), so that to first order in r
the relative error of the first-order prediction is ε(r) ≈ r κ / 2 with the *curvature ratio*
κ = ‖f''[δ, δ]‖ / ‖Jδ‖. Where the measured ε leaves that line, something other than plain curvature
is at work: a router that changes its choice, a softmax that saturates, rounding.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

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
