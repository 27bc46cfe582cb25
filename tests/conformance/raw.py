"""What the engine's evaluations give, before it becomes figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pytest_linearity import Directions
from pytest_linearity.numerics.calibration.calibration import Calibration
from pytest_linearity.numerics.derivatives import extrapolate, steps
from pytest_linearity.numerics.lockstep.dual import unpack_dual
from pytest_linearity.numerics.lockstep.evaluation import Evaluation
from pytest_linearity.numerics.lockstep.scheduler import Lockstep
from pytest_linearity.numerics.precision import arithmetic_for
from tests.support.oracle import Truth


def evaluate(
    model: nn.Module,
    logits: Sequence[Callable[[], Tensor]],
    directions: Directions,
    radii: Sequence[float],
    known: Calibration,
) -> Truth:
    """The engine's own f(θ*), Jδ and f(θ* + rδ) − f(θ*), in float64, sharing what it may."""
    found: dict[Evaluation, Tensor] = {}
    differences = () if known.step is None else steps(known.step)
    at = sorted({*radii, *differences})
    jvps: list[float | None] = [None] if known.step is None else []
    ks = range(directions.count)

    def finished(evaluation: Evaluation, output: Tensor) -> None:
        if evaluation.is_jvp:
            primal, tangent = unpack_dual(output)
            output = torch.zeros_like(primal) if tangent is None else tangent
        found[evaluation] = output

    def value(k: int | None = None, step: float | None = None) -> Tensor:
        return torch.cat([found[Evaluation(batch, k, step)] for batch in range(len(logits))])

    def derivative(k: int) -> Tensor:
        if known.step is None:
            return value(k)
        return extrapolate({step: value(k, step) for step in differences}, known.step)

    evaluations = [
        evaluation
        for batch in range(len(logits))
        for evaluation in (
            Evaluation(batch),
            *(Evaluation(batch, k, step) for k in ks for step in (*jvps, *at)),
        )
    ]
    Lockstep(
        model,
        logits,
        directions,
        arithmetic_for(model, "float64", torch.device("cpu")),
        share_primals=known.share_primals,
        share_trunk=known.share_trunk,
    ).run(evaluations, finished)
    baseline = value()
    return Truth(
        baseline,
        torch.stack([derivative(k) for k in ks]),
        torch.stack([torch.stack([value(k, r) - baseline for k in ks]) for r in radii]),
    )
