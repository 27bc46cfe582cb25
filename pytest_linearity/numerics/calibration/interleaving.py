"""May evaluations advance together? Not where a forward keeps state between its parts.

An activation that is kept on a module, in a buffer, by a hook or in a cache until a later layer
reads it may by then be that of another evaluation. Where it is kept cannot be known, but what comes
of it can be seen: an evaluation that advanced among others, against the same one alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pytest_linearity.errors import (
    MeasurementError,
    class_and_line,
    pass_on_foreign,
    shown_names,
)
from pytest_linearity.numerics.calibration.trial import Trial, TrialResult
from pytest_linearity.numerics.directions.directions import Directions
from pytest_linearity.numerics.lockstep.evaluation import Evaluation
from pytest_linearity.numerics.lockstep.logits import Logits
from pytest_linearity.numerics.lockstep.scheduler import Lockstep
from pytest_linearity.numerics.lockstep.state import state_kept
from pytest_linearity.numerics.precision import Arithmetic

_SAME_CHANGE = 1e-6
"""Logits of the same evaluation that differ by less than this, relative to the true change, move no
figure that anybody could see."""

_SAME_LOGITS = 1e-11
"""The same, relative to the logits: rounding of float64, added up in another order."""


def first_trial(
    model: nn.Module, logits: Logits, directions: Directions, radius: float, device: torch.device
) -> tuple[Trial, TrialResult, str | None]:
    """The trial in float64, its evaluations together if they may be, else one after another.

    Args:
        model: The model.
        logits: Runs it on a small part of the probes: () -> Tensor [prompts, V].
        directions: The directions; only the first is drawn.
        radius: The smallest radius.
        device: Where to compute.

    Returns:
        The trial, what it gave, and why evaluations must not advance together; None if they may.

    Raises:
        MeasurementError: If the model cannot be measured either way.
        Exception: What the forward itself raises.
    """
    trial = Trial(model, logits, directions, radius, device)
    try:
        result = trial.run(torch.float64)
    except (MeasurementError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # perhaps for want of a state that another evaluation has taken
        pass_on_foreign(error)
        reason = f"evaluations that advance together fail ({class_and_line(error)})"
    else:
        result.check_references()
        alone = _alone(model, logits, directions, trial.between, device)
        if alone.gives_the_same(result):
            result.check()
            return trial, result, None
        reason = "the forward keeps state between its parts" + alone.whereabouts
    trial = Trial(model, logits, directions, radius, device, interleaved=False)
    try:
        result = trial.run(torch.float64)
    except (MeasurementError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        pass_on_foreign(error)
        with torch.no_grad(), state_kept(model):
            logits()  # what fails by itself says why
        raise MeasurementError(
            f"the forward cannot be followed where it runs by itself ({class_and_line(error)})"
        ) from error
    result.check()
    return trial, result, reason


@dataclass(frozen=True)
class _Alone:
    """One evaluation of a trial, repeated alone."""

    evaluation: Evaluation
    logits: Tensor
    changed: frozenset[str]
    """Names of attributes and buffers that its forward has changed."""

    @property
    def whereabouts(self) -> str:
        """Where state may be kept, as far as it is in the modules."""
        return f" ({shown_names(sorted(self.changed))})" if self.changed else ""

    def gives_the_same(self, together: TrialResult) -> bool:
        """Whether it gave then what it gives alone, but for rounding."""
        other = together.logits[self.evaluation]
        tolerance = max(_SAME_CHANGE * _norm(together.change), _SAME_LOGITS * _norm(self.logits))
        return (
            together.repeats
            and _norm(self.logits - other) <= tolerance
            and torch.equal(self.logits.isfinite(), other.isfinite())
        )


def _alone(
    model: nn.Module,
    logits: Logits,
    directions: Directions,
    evaluation: Evaluation,
    device: torch.device,
) -> _Alone:
    engine = Lockstep(
        model,
        [logits],
        directions,
        Arithmetic(torch.float64, device),
        share_primals=False,
        share_trunk=False,
        interleaved=False,
    )
    outputs: dict[Evaluation, Tensor] = {}
    engine.run([evaluation], outputs.__setitem__)
    return _Alone(evaluation, outputs[evaluation], engine.changed)


def _norm(values: Tensor) -> float:
    """The norm of what is finite."""
    return float(values.nan_to_num(0.0, 0.0, 0.0).norm())
