"""The engine against brute force on one model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from oracle import Truth, brute_force, true_float64
from torch import Tensor, nn

from pytest_linearity import Directions, measure
from pytest_linearity.calibration import Calibration, calibrate
from pytest_linearity.differences import extrapolate, steps
from pytest_linearity.lockstep import Evaluation, Lockstep
from pytest_linearity.lockstep.dual import unpack_dual
from pytest_linearity.logits import last_token_logits
from pytest_linearity.precision import arithmetic_for
from pytest_linearity.probes.batches import Batch, make_batches

from .sizes import VOCABULARY

RADII = (0.03, 0.3)
DIRECTIONS = 2
LENGTHS = (7, 12)
TOLERANCE = 1e-8

_NEAR = 1e-5
"""Distance of the points from which the oracle's own derivatives are checked."""


@dataclass(frozen=True)
class Agreement:
    """How far the engine is from brute force; every figure is the largest over all it stands for,
    relative to the norm of the true quantity, unless it says otherwise."""

    baseline: float
    """Of f(θ*)."""
    tangents: float
    """Of Jδ."""
    changes: float
    """Of f(θ* + rδ) − f(θ*)."""
    figures: float
    """Of ε and c; absolute."""
    derivative: float
    """Of brute force's Jδ from its own finite differences, which are good for 1e-6 or so."""
    known: Calibration
    """What the engine found out about the model."""

    @property
    def worst(self) -> float:
        """Largest difference between the engine and brute force."""
        return max(self.baseline, self.tangents, self.changes, self.figures)


def prompts() -> list[list[int]]:
    """Token ids of random prompts of different lengths, without special tokens."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(5, VOCABULARY, (n,), generator=generator).tolist() for n in LENGTHS]


def together() -> Batch:
    """All prompts, padded on the right."""
    return make_batches(prompts(), size=len(LENGTHS), pad_id=0)[0]


def compare(model: nn.Module, scope: str = "full") -> Agreement:
    """Measure with the engine and plainly, both in true float64."""
    batch, directions = together(), Directions(model, DIRECTIONS, seed=7, scope=scope)
    logits = last_token_logits(model, batch)
    deltas = [{n: directions.tensor(k, n) for n in directions.names} for k in range(DIRECTIONS)]
    near = tuple(sign * m * _NEAR for m in (1, 2) for sign in (1, -1))
    truth = brute_force(model, lambda twin: last_token_logits(twin, batch)(), deltas, near + RADII)
    measured = measure(model, logits, directions, RADII, "float64")
    known = calibrate(model, logits, directions, min(RADII), torch.device("cpu"))
    baseline, tangents, changes = evaluate(model, logits, directions, known)
    true = Truth(truth.baseline, truth.tangents, truth.changes[len(near) :])
    ahead, behind, far_ahead, far_behind = truth.changes[: len(near)]
    slope = (8 * (ahead - behind) - (far_ahead - far_behind)) / (12 * _NEAR)
    return Agreement(
        baseline=_relative(baseline, true.baseline),
        tangents=_relative(tangents, true.tangents),
        changes=_relative(changes, true.changes),
        figures=max(
            _largest(measured.relative_error - true.relative_error(RADII)),
            _largest(measured.cosine_similarity - true.cosine_similarity(RADII)),
        ),
        derivative=_relative(true.tangents, slope),
        known=known,
    )


def evaluate(
    model: nn.Module, logits: Callable[[], Tensor], directions: Directions, known: Calibration
) -> tuple[Tensor, Tensor, Tensor]:
    """The engine's own f(θ*), Jδ and f(θ* + rδ) − f(θ*), shaped as in `Truth`."""
    found: dict[Evaluation, Tensor] = {}
    at = set(RADII) if known.step is None else {*RADII, *steps(known.step)}
    jvps: list[float | None] = [None] if known.step is None else []
    ks = range(directions.count)

    def finished(evaluation: Evaluation, output: Tensor) -> None:
        if evaluation.is_jvp:
            primal, tangent = unpack_dual(output)
            output = torch.zeros_like(primal) if tangent is None else tangent
        found[evaluation] = output

    Lockstep(
        model,
        [logits],
        directions,
        arithmetic_for(model, "float64", torch.device("cpu")),
        share_primals=known.share_primals,
        share_trunk=known.share_trunk,
    ).run([Evaluation(0), *(Evaluation(0, k, s) for k in ks for s in (*jvps, *at))], finished)
    baseline = found[Evaluation(0)]

    def tangent(k: int) -> Tensor:
        if known.step is None:
            return found[Evaluation(0, k)]
        values = {step: found[Evaluation(0, k, step)] for step in at}
        return extrapolate(values, known.step)[0]

    changes = [torch.stack([found[Evaluation(0, k, r)] - baseline for k in ks]) for r in RADII]
    return baseline, torch.stack([tangent(k) for k in ks]), torch.stack(changes)


def padding(model: nn.Module) -> float:
    """How far prompts in a padded batch are from the same prompts alone, by brute force."""

    exact = copy.deepcopy(model).double()
    alone = make_batches(prompts(), size=1, pad_id=0)
    with true_float64(), torch.no_grad():
        padded = last_token_logits(exact, together())()
        single = torch.cat([last_token_logits(exact, batch)() for batch in alone])
    return _relative(padded, single)


def _relative(found: Tensor, true: Tensor) -> float:
    """Largest relative difference of the logits of any prompt; 0 where both are exactly zero."""
    difference, size = (found - true).norm(dim=-1), true.norm(dim=-1)
    return float(torch.where((difference == 0) & (size == 0), 0.0, difference / size).max())


def _largest(difference: Tensor) -> float:
    return float(difference.abs().max())
