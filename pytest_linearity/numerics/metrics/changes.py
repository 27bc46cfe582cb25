"""Metrics of the predicted change of the logits against the true one.

A pair whose figure is not defined is marked in the figure itself: ``inf`` where only the true
change is zero, ``nan`` where anything is not finite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from pytest_linearity.numerics.metrics.metric import MetricFunction


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
    figures: Tensor = (error / size).masked_fill((error == 0) & (size == 0), 0.0)
    return figures


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
    aligned = predicted / expected.masked_fill(expected == 0, 1.0).unsqueeze(-1)
    cosine: Tensor = (unit * aligned).sum(-1).clamp(-1, 1)
    return cosine.masked_fill((length == 0) & (expected == 0), 1.0)


def symmetric_relative_error(true: Tensor, predicted: Tensor) -> Tensor:
    """2 ‖Δ_true − Δ_pred‖ / (‖Δ_true‖ + ‖Δ_pred‖): a prediction too large costs as one too small.

    Args:
        true: Change of the logits, float Tensor [..., V].
        predicted: First-order prediction of that change, same shape.

    Returns:
        float64 Tensor [...], in [0, 2]; 0 where both changes are exactly zero, ``nan`` where either
        is not finite.
    """
    true, predicted = _scaled(true, predicted)
    error = (true - predicted).norm(dim=-1)
    size = (true.norm(dim=-1) + predicted.norm(dim=-1)) / 2
    figures: Tensor = (error / size).masked_fill(size == 0, 0.0)
    return figures


def top_k_relative_error(k: int) -> MetricFunction:
    """The relative error on the k logits that are largest at θ*, or on all where there are fewer.

    At θ*, not at θ* + rδ: these are the same tokens for every radius and direction, so that the
    figures over the radii are a curve of one quantity.

    Args:
        k: How many logits, at least 1.
    """

    def compute(change: Tensor, predicted: Tensor, baseline: Tensor) -> Tensor:
        largest = baseline.topk(min(k, baseline.shape[-1])).indices
        return relative_error(change.gather(-1, largest), predicted.gather(-1, largest))

    return compute


def _scaled(true: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64, over the largest entry of either: no figure here depends on the scale.

    Squares of what is left can neither overflow nor vanish.
    """
    true, predicted = true.double(), predicted.double()
    largest = true.abs().maximum(predicted.abs()).amax(dim=-1, keepdim=True)
    scale = largest.masked_fill(largest == 0, 1.0)
    return true / scale, predicted / scale
