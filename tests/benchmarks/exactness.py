"""ε and c of `precision: auto` against brute force in true float64, over five decades of radius."""

from __future__ import annotations

import copy

import torch

from pytest_linearity import Directions, measure
from tests.benchmarks.models import Work, llama
from tests.support.oracle import brute_force

RADII = (1e-3, 1e-2, 0.1, 1.0, 10.0)


def exactness_rows() -> list[tuple[str, str, str]]:
    """What was measured, the target, and the worst that came out."""
    rows = []
    work = llama(hidden=256, layers=4, mlp=704, vocabulary=512, prompts=3, length=16)
    for dtype in (torch.float32, torch.bfloat16):
        model = copy.deepcopy(work.model).to(dtype)
        rows.append(
            (
                f"ε and c at r = 1e-3 … 10, {str(dtype).removeprefix('torch.')}, worst pair",
                "≤ 1, of 1% or 1e-4",
                f"{_worst(Work(model, work.ids)):.2f}",
            )
        )
    return rows


def _worst(work: Work) -> float:
    """The largest error of any pair's ε or c, in units of what is allowed."""
    directions = Directions(work.model, 3)
    deltas = [
        {n: directions.tensor(k, n) for n in directions.names} for k in range(directions.count)
    ]
    truth = brute_force(work.model, lambda model: Work(model, work.ids).everywhere(), deltas, RADII)
    ours = measure(work.model, work, directions, RADII, calibration=work.small())
    worst = 0.0
    for figure, exact in (
        (ours.relative_error, truth.relative_error(RADII)),
        (ours.cosine_similarity, truth.cosine_similarity(RADII)),
    ):
        allowed = torch.maximum(exact.abs() * 1e-2, torch.tensor(1e-4))
        worst = max(worst, float(((figure - exact).abs() / allowed).max()))
    return worst
