"""Draws inside a forward: is a batch's f(θ*) the same when it is taken again?

Calibration compares two forwards on one short prompt. What only longer prompts reach, as dropout
behind a condition, would be measured as curvature: whether anything has been drawn costs nothing to
know, and only then are the batches' baselines taken again.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pytest_linearity.errors import MeasurementError
from pytest_linearity.numerics.directions.source import DirectionSource
from pytest_linearity.numerics.lockstep.evaluation import Evaluation
from pytest_linearity.numerics.lockstep.logits import Logits, whole
from pytest_linearity.numerics.lockstep.scheduler import Lockstep
from pytest_linearity.numerics.precision import Arithmetic

_TIMES = 4
"""A layer that is dropped now and then may come out the same twice."""
_SAME = 1e-6
"""As for the prompt of the calibration; see `calibration.trial`."""


class Draws:
    """The process-wide generators, as they stood at some time."""

    def __init__(self, device: torch.device) -> None:
        """As they stand now.

        Args:
            device: Whose generator is looked at beside that of the CPU.
        """
        self._device = device
        self._states = _states(device)

    def happened(self) -> bool:
        """Whether anybody has drawn from one of them since, or seeded it."""
        return any(
            bool(then != now) for then, now in zip(self._states, _states(self._device), strict=True)
        )


def _states(device: torch.device) -> list[Any]:
    numpy = sys.modules.get("numpy")
    return [
        torch.get_rng_state().numpy().tobytes(),
        torch.cuda.get_rng_state(device).numpy().tobytes() if device.type == "cuda" else None,
        random.getstate(),
        None if numpy is None else [str(part) for part in numpy.random.get_state()],
    ]


def check_repeats(
    model: nn.Module,
    runs: Sequence[Logits],
    places: Sequence[int],
    directions: DirectionSource,
    device: torch.device,
) -> None:
    """Take the baselines of some batches several times.

    Args:
        model: The model.
        runs: The calls of all batches.
        places: Which of them.
        directions: Of the model; none is drawn.
        device: Where to compute.

    Raises:
        MeasurementError: If the logits of a prompt are not the same each time.
    """
    for place in places:
        run = whole(runs[place])
        outputs: dict[Evaluation, Tensor] = {}
        # As many batches, so that they have no trunk in common.
        evaluations = [Evaluation(time) for time in range(_TIMES)]
        arithmetic = Arithmetic(torch.float64, device)
        Lockstep(model, [run] * _TIMES, directions, arithmetic, interleaved=False).run(
            evaluations, outputs.__setitem__
        )
        first, *others = (outputs[evaluation] for evaluation in evaluations)
        farthest = torch.stack([(other - first).norm(dim=-1) for other in others]).amax(dim=0)
        sizes = first.norm(dim=-1).tolist()
        for prompt, (difference, size) in enumerate(zip(farthest.tolist(), sizes, strict=True)):
            if difference > _SAME * size:
                raise MeasurementError(
                    "the model's forward is not deterministic: two forwards with the same "
                    f"parameters and prompt (number {prompt + 1} of batch {place + 1}) differ by "
                    f"{difference:.3g} in logits of norm {size:.3g}; switch off dropout and other "
                    "sampling (model.eval())"
                )
