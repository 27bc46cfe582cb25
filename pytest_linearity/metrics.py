"""Relative error and cosine similarity of a predicted change against the true one.

A pair whose figure is not defined is marked in the figure itself: ``inf`` where only the true
change is zero, ``nan`` where anything is not finite.
"""

from __future__ import annotations

import torch
from torch import Tensor


def relative_error(true: Tensor, predicted: Tensor) -> Tensor:
    """ε = ‖Δ_true − Δ_pred‖ / ‖Δ_true‖.

    Args:
        true: Change of the logits, float Tensor [..., V].
        predicted: First-order prediction of that change, same shape.

    Returns:
        float64 Tensor [...], at least 0; 0 where both changes are exactly zero, ``inf`` where only
        the true one is, ``nan`` where either is not finite.
    """
    true, predicted = _scaled(true, predicted)
    error, size = (true - predicted).norm(dim=-1), true.norm(dim=-1)
    return torch.where((error == 0) & (size == 0), 0.0, error / size)


def cosine_similarity(true: Tensor, predicted: Tensor) -> Tensor:
    """C = cos(Δ_true, Δ_pred).

    Args:
        true: Change of the logits, float Tensor [..., V].
        predicted: First-order prediction of that change, same shape.

    Returns:
        float64 Tensor [...], in [−1, 1]; 1 where both changes are exactly zero, 0 where only the
        predicted one is, ``nan`` where only the true one is or either is not finite.
    """
    true, predicted = _scaled(true, predicted)
    length, expected = true.norm(dim=-1), predicted.norm(dim=-1)
    unit = true / length.unsqueeze(-1)
    aligned = predicted / torch.where(expected == 0, 1.0, expected).unsqueeze(-1)
    cosine = (unit * aligned).sum(-1).clamp(-1, 1)
    return torch.where((length == 0) & (expected == 0), 1.0, cosine)


def _scaled(true: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64, over the largest entry of either: neither figure depends on the scale.

    Squares of what is left can neither overflow nor vanish.
    """
    true, predicted = true.double(), predicted.double()
    largest = torch.maximum(true.abs(), predicted.abs()).amax(dim=-1, keepdim=True)
    scale = torch.where(largest == 0, 1.0, largest)
    return true / scale, predicted / scale
