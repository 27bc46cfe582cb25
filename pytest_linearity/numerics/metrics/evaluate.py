"""A metric computed for one batch, whatever its function does."""

from __future__ import annotations

import torch
from torch import Tensor

from pytest_linearity.errors import class_and_line
from pytest_linearity.numerics.metrics.metric import Metric


def evaluate(
    metric: Metric, change: Tensor, predicted: Tensor, baseline: Tensor
) -> tuple[Tensor, str | None]:
    """The figures of a metric.

    Args:
        metric: The metric.
        change: f(θ* + rδ) − f(θ*), float64 Tensor [prompts, V].
        predicted: r · J δ, same shape.
        baseline: f(θ*), same shape.

    Returns:
        The figures, float64 Tensor [prompts] on the CPU, and why there are none (they are ``nan``
        then), in one line; None where there are.
    """
    # Copies: a function that writes into its arguments would falsify all other figures.
    copies = (change.clone(), predicted.clone(), baseline.clone())
    try:
        figures = metric.function(*copies)
    except Exception as error:  # a user's function may raise anything
        return _none(change), f"{metric.name} raised {class_and_line(error)}"
    wrong = _wrong(figures, change.shape[:1])
    if wrong is not None:
        return _none(change), f"{metric.name} gave {wrong}"
    return figures.detach().double().cpu(), None


def moved_by_rounding(
    metric: Metric,
    figures: Tensor,
    change: Tensor,
    predicted: Tensor,
    baseline: Tensor,
    noise: Tensor,
) -> Tensor:
    """How far rounding can move the figures of a metric.

    It adds to the change a vector of known norm and unknown direction; taken here is the direction
    in which the prediction's error grows fastest, which is that error's own.

    Args:
        metric: The metric.
        figures: What it is, float64 Tensor [prompts] on the CPU.
        change: f(θ* + rδ) − f(θ*), float64 Tensor [prompts, V].
        predicted: r · J δ, same shape.
        baseline: f(θ*), same shape.
        noise: Norm of what rounding adds to the change, float64 Tensor [prompts].

    Returns:
        float64 Tensor [prompts] on the CPU.
    """
    error = change - predicted
    along = torch.where((error == 0).all(-1, keepdim=True), change, error)
    size = along.norm(dim=-1, keepdim=True)
    unit = along / size.masked_fill(size == 0, 1.0)
    elsewhere = change + noise.unsqueeze(-1) * unit
    moved, _ = evaluate(metric, elsewhere, predicted, baseline)
    return (moved - figures).abs()


def _none(change: Tensor) -> Tensor:
    return torch.full(change.shape[:1], torch.nan, dtype=torch.float64)


def _wrong(figures: object, shape: torch.Size) -> str | None:
    """What is wrong with what a function has given; None where nothing is."""
    if not isinstance(figures, Tensor):
        return f"{type(figures).__name__}, not a Tensor of {shape[0]} prompts"
    if figures.shape != shape:
        return f"a Tensor of shape {list(figures.shape)}, not {list(shape)} (one per prompt)"
    if figures.is_complex():
        return "complex figures"
    return None
