"""Metrics of the predicted next token against the true one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def kl_divergence(change: Tensor, predicted: Tensor, baseline: Tensor) -> Tensor:
    """D(p_true ‖ p_pred) = Σ p_true (log p_true − log p_pred), in nats.

    Args:
        change: True change of the logits, float64 Tensor [..., V].
        predicted: First-order prediction of that change, same shape.
        baseline: The logits at θ*, same shape.

    Returns:
        float64 Tensor [...], at least 0; ``nan`` where a logit is not finite.
    """
    true, expected = baseline + change, baseline + predicted
    log_p, log_q = true.log_softmax(-1), expected.log_softmax(-1)
    divergence = (log_p.exp() * (log_p - log_q)).sum(-1)
    # It cannot be below zero, but its rounding can.
    return _where_finite(divergence.clamp(min=0.0), true, expected)


def top1_agreement(change: Tensor, predicted: Tensor, baseline: Tensor) -> Tensor:
    """1 where the most likely token is the predicted one, 0 elsewhere.

    Args:
        change: True change of the logits, float64 Tensor [..., V].
        predicted: First-order prediction of that change, same shape.
        baseline: The logits at θ*, same shape.

    Returns:
        float64 Tensor [...]; ``nan`` where a logit is not finite.
    """
    true, expected = baseline + change, baseline + predicted
    agrees = true.argmax(-1) == expected.argmax(-1)
    return _where_finite(agrees.double(), true, expected)


def _where_finite(figures: Tensor, true: Tensor, expected: Tensor) -> Tensor:
    finite = (true.isfinite() & expected.isfinite()).all(-1)
    return figures.masked_fill(~finite, float("nan"))
