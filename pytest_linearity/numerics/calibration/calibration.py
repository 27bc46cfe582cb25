"""A small part of the work, done first: can the model be measured, and how exact is float32?

One prompt, one direction, the smallest radius, once in float64 and once in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pytest_linearity.numerics.calibration.interleaving import first_trial
from pytest_linearity.numerics.calibration.slopes import mean_norm
from pytest_linearity.numerics.calibration.trial import TrialResult
from pytest_linearity.numerics.directions.directions import Directions
from pytest_linearity.numerics.lockstep.evaluation import Evaluation
from pytest_linearity.numerics.lockstep.logits import Logits
from pytest_linearity.numerics.lockstep.tail import Site
from pytest_linearity.numerics.metrics.changes import relative_error
from pytest_linearity.numerics.routing import flips, margin_noise

_FLOAT64_PER_FLOAT32 = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps


class RoundingNoise(NamedTuple):
    """What rounding does to the logits in one arithmetic."""

    change: float
    """Norm of what it adds to the true change of one prompt's logits."""
    derivative: float
    """Relative error of Jδ; that of central differences is no rounding, and counts as such."""

    def floor(self, change: Tensor) -> Tensor:
        """Relative error that it causes.

        Args:
            change: ‖Δ_true‖, float64 Tensor of any shape.

        Returns:
            float64 Tensor of that shape; ``inf`` where nothing changes but rounding, ``nan`` where
            the change is not finite.
        """
        if self.change == 0 and self.derivative == 0:
            return torch.zeros_like(change)
        floor = torch.hypot(self.change / change, torch.tensor(self.derivative).double())
        return floor.masked_fill(~change.isfinite(), torch.nan)


@dataclass(frozen=True)
class Calibration:
    """What is known of a model before it is measured.

    It settles how evaluations are run: whether they advance together (`not_interleaved`), what they
    may share (`share_primals`, `share_trunk`, `tail`), and where derivatives come from (`step`).
    And it settles which radii float32 carries: rounding adds a vector to the true change of a
    prompt's logits (`float32`, `float64`), which has a norm of about r · `slope`, and ε of about
    r · `curvature` must stand out from what that makes. All norms are over the logits of one
    prompt, in the mean of the prompts that were looked at.
    """

    share_primals: bool
    """Whether JVPs may hold the baseline's products."""
    share_trunk: bool
    """Whether what runs before the first perturbed parameter may run once."""
    not_interleaved: str | None
    """Why evaluations must not advance together; None where they may."""
    changes_state: bool
    """Whether a forward changes attributes or buffers, so that batches must not run together."""
    asks: bool
    """Whether the forward asks for any parameter in scope."""
    selects: bool
    """Whether the forward makes discrete choices, as routers do."""
    unsteady: bool
    """Whether such a choice differs between float32 and float64 at the same point."""
    tie: float
    """Relative margin below which rounding in float32 may turn a choice; see `near_ties`."""
    widest: int
    """Inputs plus outputs of the widest linear layer, in features per token."""
    tail: frozenset[Site]
    """Where the logits can see the last tokens' rows only."""
    step: float | None
    """Largest step of the central differences; None where forward mode works."""
    no_forward_mode: str | None
    """Why forward mode does not work."""
    only_exact: bool
    """Whether forward mode works in float64 alone, so that derivatives are always taken there."""
    float32: RoundingNoise
    """What rounding in float32 does."""
    float64: RoundingNoise
    """What rounding in float64 does, be it all float64: code that a function mode does not see may
    narrow its values."""
    departure: float
    """‖f₃₂(θ*) − f₆₄(θ*)‖ / ‖f₆₄(θ*)‖: how far logits themselves differ between arithmetics."""
    slope: float
    """‖Jδ‖ of the calibration prompt."""
    curvature: float
    """Relative error at the smallest radius over that radius, in float64."""

    @property
    def jvp_method(self) -> str:
        """`forward-mode` or `central-differences`."""
        return "forward-mode" if self.step is None else "central-differences"

    def noise_floor(self, change: Tensor, dtype: torch.dtype) -> Tensor:
        """Relative error that rounding alone causes.

        Args:
            change: ‖Δ_true‖, float64 Tensor of any shape.
            dtype: Arithmetic of the forwards.

        Returns:
            float64 Tensor of that shape; ``inf`` where nothing changes but rounding.
        """
        return (self.float64 if dtype == torch.float64 else self.float32).floor(change)

    def float32_carries(self, radius: float) -> bool:
        """Whether float32 is expected to give ε at a radius to 1%, or to 1e-4."""
        if self.unsteady:
            return False
        change = torch.tensor(radius * self.slope, dtype=torch.float64)
        floor = float(self.noise_floor(change, torch.float32))
        return carries(self.curvature * radius, floor)


def carries(error: float, floor: float) -> bool:
    """Whether ε is exact to 1%, or to 1e-4, over a noise floor.

    Rounding and curvature point in unrelated directions of logit space, so they add in quadrature:
    a floor of a tenth of ε changes ε by half a percent.

    Args:
        error: ε.
        floor: The noise floor, measured on one prompt along one direction.
    """
    return _SAFETY * floor <= max(0.1 * error, 1e-4)


_TIE = 4
"""So many times what margins were seen to differ by, as few choices stand for all."""
_SAFETY = 1.5
"""One prompt and one direction stand for all."""


def calibrate(
    model: nn.Module, logits: Logits, directions: Directions, radius: float, device: torch.device
) -> Calibration:
    """Find out how a model is to be measured.

    Args:
        model: The model.
        logits: Runs it on a small part of the probes: () -> Tensor [prompts, V].
        directions: The directions; only the first is drawn.
        radius: The smallest radius.
        device: Where to compute.

    Raises:
        MeasurementError: If the model cannot be measured: its forward is not deterministic, or
            reads a parameter in a way that a perturbation would not reach.
    """
    trial, exact, not_interleaved = first_trial(model, logits, directions, radius, device)
    rounded = trial.run(torch.float32)
    points = exact.selections
    error = relative_error(exact.change, radius * exact.derivative)
    return Calibration(
        share_primals=not exact.inspector.changes_products,
        share_trunk=trial.share_trunk and not_interleaved is None,
        not_interleaved=not_interleaved,
        changes_state=bool(exact.changed),
        asks=not exact.asked.isdisjoint(directions.names),
        selects=bool(exact.selections[Evaluation(0)].chosen),
        unsteady=_turned(exact, rounded),
        tie=_TIE * max(margin_noise(exact.selections[at], rounded.selections[at]) for at in points),
        widest=exact.inspector.widest,
        tail=rounded.tail,
        step=trial.step,
        no_forward_mode=trial.no_forward_mode,
        only_exact=trial.only_exact,
        float32=_rounding(exact, rounded),
        float64=_exact_rounding(exact, rounded),
        departure=mean_norm(rounded.baseline.double() - exact.baseline)
        / (mean_norm(exact.baseline) or 1.0),
        slope=mean_norm(exact.derivative),
        curvature=float(error[error.isfinite()].mean().nan_to_num(0.0)) / radius,
    )


def _rounding(exact: TrialResult, rounded: TrialResult) -> RoundingNoise:
    """What is in float32 besides what is in float64."""
    derivative = exact.step_error
    if rounded.tangent is not None:
        difference = mean_norm(rounded.tangent.double() - exact.derivative)
        derivative = difference / (mean_norm(exact.derivative) or 1.0)
    change = mean_norm(rounded.change.double() - exact.change)
    if _turned(exact, rounded):
        change = max(change, mean_norm(rounded.baseline.double() - exact.baseline))
    return RoundingNoise(change, derivative)


def _turned(exact: TrialResult, rounded: TrialResult) -> bool:
    """Whether a discrete choice differs between the two arithmetics at the same point."""
    points = exact.selections
    return any(flips(exact.selections[at], rounded.selections[at]) for at in points)


def _exact_rounding(exact: TrialResult, rounded: TrialResult) -> RoundingNoise:
    """What is in float64: the same in proportion to the units, or what was seen if that is more."""
    coarse = _rounding(exact, rounded)
    if not all(map(isfinite, coarse)):
        return RoundingNoise(exact.rounding, exact.step_error)
    scale = max(_FLOAT64_PER_FLOAT32, min(1.0, exact.rounding / (coarse.change or inf)))
    derivative = coarse.derivative if exact.step is not None else scale * coarse.derivative
    return RoundingNoise(max(scale * coarse.change, exact.rounding), derivative)
