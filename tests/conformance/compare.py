"""The engine against brute force on one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pytest_linearity import Directions, measure
from pytest_linearity.numerics.calibration.calibration import Calibration, calibrate
from pytest_linearity.probes.batches import Batch
from pytest_linearity.probes.logits import last_token_logits
from tests.support.last_tokens import plain_last_tokens
from tests.support.oracle import brute_force

from .raw import evaluate

RADII = (0.03, 0.3)
DIRECTIONS = 2
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
        return largest([self.baseline, self.tangents, self.changes, self.figures])


def compare(model: nn.Module, batches: Sequence[Batch], scope: str = "full") -> Agreement:
    """Measure with the engine and plainly, both in true float64."""
    directions = Directions(model, DIRECTIONS, seed=7, scope=scope)
    deltas = [{n: directions.tensor(k, n) for n in directions.names} for k in range(DIRECTIONS)]

    def run(twin: nn.Module) -> Tensor:
        return torch.cat([plain_last_tokens(twin, batch) for batch in batches])

    true = brute_force(model, run, deltas, RADII)
    near = brute_force(model, run, deltas, (-2 * _NEAR, -_NEAR, _NEAR, 2 * _NEAR)).changes
    slope = (near[0] - 8 * near[1] + 8 * near[2] - near[3]) / (12 * _NEAR)
    logits = [last_token_logits(model, batch) for batch in batches]
    measured = measure(model, logits, directions, RADII, "float64")
    known = calibrate(model, logits[0], directions, min(RADII), torch.device("cpu"))
    raw = evaluate(model, logits, directions, RADII, known)
    return Agreement(
        baseline=_relative(raw.baseline, true.baseline),
        tangents=_relative(raw.tangents, true.tangents),
        changes=_relative(raw.changes, true.changes),
        figures=largest(
            [
                _absolute(measured.relative_error - true.relative_error(RADII)),
                _absolute(measured.cosine_similarity - true.cosine_similarity(RADII)),
            ]
        ),
        derivative=_relative(true.tangents, slope),
        known=known,
    )


def _relative(found: Tensor, true: Tensor) -> float:
    """Largest relative difference of the logits of any prompt; 0 where both are exactly zero."""
    difference, size = (found - true).norm(dim=-1), true.norm(dim=-1)
    return float(torch.where((difference == 0) & (size == 0), 0.0, difference / size).max())


def _absolute(difference: Tensor) -> float:
    return float(difference.abs().max())


def largest(figures: Sequence[float]) -> float:
    """The largest; NaN if there is one, which `max` would pass over."""
    return float(torch.tensor(figures, dtype=torch.float64).max())
