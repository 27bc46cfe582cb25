"""Do prompts that share a prefix get the logits that they have alone?

Whatever an architecture does with a cache, two things are compared before it is measured: in
float64 the logits and their derivative on a short prompt, at θ* and at a step; and at full length
the logits of the first batch and of the longest prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pytest_linearity.errors import class_and_line, pass_on_foreign
from pytest_linearity.numerics.calibration.calibration import Calibration
from pytest_linearity.numerics.directions.source import DirectionSource
from pytest_linearity.numerics.lockstep.dual import unpack_dual
from pytest_linearity.numerics.lockstep.evaluation import Evaluation
from pytest_linearity.numerics.lockstep.logits import (
    Logits,
    SuffixCall,
    prefix_of,
    shares_prefix,
    whole,
)
from pytest_linearity.numerics.lockstep.scheduler import Lockstep
from pytest_linearity.numerics.precision import Arithmetic, arithmetic_for

_SAME_EXACT = 1e-9
"""Two float64 forwards that add the same terms in another order differ by some 1e-15 of the
logits' norm, and by 1e-13 in what is made of their differences."""

_SAME_UNITS = 1000
"""The same, in units of the last place of the arithmetic: a deep model adds up some tens of them,
where a wrong position or mask, or a token that is not seen, moves logits by percents."""


def check_prefix(
    model: nn.Module,
    batches: Sequence[Logits],
    small: Logits,
    directions: DirectionSource,
    radius: float,
    calibration: Calibration,
    device: torch.device,
) -> None:
    """Find out whether batches may share their prefix; if not, note the reason in `skipped`.

    Args:
        model: The model.
        batches: Those of the measurement; nothing is looked at unless they share a prefix.
        small: A small part of them, which may share a shorter one.
        directions: Of the model; only the first is drawn.
        radius: The step that is compared.
        calibration: What is known of the model.
        device: Where to compute.
    """
    sharing = [run for run in batches if shares_prefix(run)]
    if not sharing or sharing[0].prefix.skipped is not None:
        return
    prefix = sharing[0].prefix
    prefix.skipped = calibration.not_interleaved
    if prefix.skipped is not None:
        return
    sample = small if shares_prefix(small) else sharing[0]
    try:
        prefix.skipped = _differs_exactly(model, sample, directions, radius, calibration, device)
        if prefix.skipped is None:
            # A forward whose discrete choices are counted must make all of them.
            prefix.layers = None if calibration.selects else sample.prefix.seen
            prefix.skipped = _differs_at_length(model, sharing, directions, device)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever a model does with a cache that it does not expect
        pass_on_foreign(error)
        prefix.skipped = failure(error)


def failure(error: Exception) -> str:
    """A reason not to share, in one line."""
    return f"the forward cannot go on from a cache ({class_and_line(error)})"


def in_use(run: Logits) -> Logits:
    """The call of a batch as it is to be measured: whole where its prefix cannot be shared."""
    prefix = prefix_of(run)
    return run if prefix is None or prefix.skipped is None else whole(run)


def _differs_exactly(
    model: nn.Module,
    small: SuffixCall,
    directions: DirectionSource,
    radius: float,
    calibration: Calibration,
    device: torch.device,
) -> str | None:
    """How logits, a step and a derivative in float64 differ; None if they do not."""
    points: list[tuple[int | None, float | None]] = [(None, None), (0, radius)]
    if calibration.step is None:
        points.append((0, None))
    engine = Lockstep(
        model,
        [small.plain, small],
        directions,
        Arithmetic(torch.float64, device),
        share_primals=calibration.share_primals,
        share_trunk=calibration.share_trunk,
    )
    outputs = _outputs(engine, [Evaluation(batch, *point) for batch in (0, 1) for point in points])
    for what, point in zip(("logits", "logits", "derivative"), points, strict=False):
        whole, shared = (outputs[Evaluation(batch, *point)] for batch in (0, 1))
        tolerance = _SAME_EXACT * float(whole.norm())
        if what == "derivative":
            tolerance += 1e-12 * float(outputs[Evaluation(0)].norm())
        reason = _difference(what, whole, shared, tolerance)
        if reason is not None:
            return reason
    return None


def _differs_at_length(
    model: nn.Module,
    batches: Sequence[SuffixCall],
    directions: DirectionSource,
    device: torch.device,
) -> str | None:
    """How logits at θ* differ in the arithmetic of measurements; None if they do not."""
    arithmetic = arithmetic_for(model, "float32", device)
    first, last = batches[0], max(batches, key=lambda run: run.length)
    # Positions of some architectures depend on how long an input is as a whole.
    checked = [first, *([last.longest()] if last.length > first.length else [])]
    runs = [run for shared in checked for run in (shared.plain, shared)]
    engine = Lockstep(model, runs, directions, arithmetic)
    outputs = _outputs(engine, [Evaluation(place) for place in range(len(runs))])
    for place in range(0, len(runs), 2):
        whole, shared = outputs[Evaluation(place)], outputs[Evaluation(place + 1)]
        for one, other in zip(whole, shared, strict=True):
            tolerance = _SAME_UNITS * torch.finfo(arithmetic.dtype).eps * float(one.norm())
            reason = _difference("logits", one, other, tolerance)
            if reason is not None:
                return reason
    return None


def _outputs(engine: Lockstep, evaluations: Sequence[Evaluation]) -> dict[Evaluation, Tensor]:
    """What evaluations give: logits, or the derivative for a JVP."""
    outputs: dict[Evaluation, Tensor] = {}

    def finished(evaluation: Evaluation, output: Tensor) -> None:
        if evaluation.is_jvp:
            primal, tangent = unpack_dual(output)
            output = torch.zeros_like(primal) if tangent is None else tangent
        outputs[evaluation] = output

    engine.run(evaluations, finished)
    return outputs


def _difference(what: str, whole: Tensor, shared: Tensor, tolerance: float) -> str | None:
    difference = float((whole - shared).norm())
    if difference <= tolerance:  # false for what is no number
        return None
    size = float(whole.norm())
    return f"the {what} would be off by {difference:.3g} in a norm of {size:.3g}"
