"""A small part of the work, done first: can the model be measured, and how exact is float32?

One prompt, one direction, the smallest radius, once in float64 and once in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pytest_linearity.numerics.calibration.interleaving import first_trial
from pytest_linearity.numerics.directions.directions import Directions
from pytest_linearity.numerics.lockstep.logits import Logits
from pytest_linearity.numerics.lockstep.tail import Site
from pytest_linearity.numerics.metrics.changes import relative_error

_FLOAT64_PER_FLOAT32 = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps


@dataclass(frozen=True)
class Calibration:
    """What is known of a model before it is measured.

    It settles how evaluations are run: whether they advance together (`not_interleaved`), what they
    may share (`share_primals`, `share_trunk`, `tail`), and where derivatives come from (`step`).
    And it settles which radii float32 carries: rounding adds a vector of norm `noise` to the true
    change of a prompt's logits, which has a norm of about r · `slope`, and ε of about
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
    noise: float
    """Norm of what float32 rounding adds to the true change of one prompt's logits."""
    jvp_noise: float
    """Relative error of a JVP in float32."""
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
        scale = _FLOAT64_PER_FLOAT32 if dtype == torch.float64 else 1.0
        if self.noise == 0 and self.jvp_noise == 0:
            return torch.zeros_like(change)
        return scale * torch.hypot(self.noise / change, torch.tensor(self.jvp_noise).double())

    def float32_carries(self, radius: float) -> bool:
        """Whether float32 is expected to give ε at a radius to 1%, or to 1e-4."""
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
    noise = _mean_norm(rounded.change.double() - exact.change)
    jvp_noise = 0.0
    if rounded.tangent is not None:
        difference = _mean_norm(rounded.tangent.double() - exact.derivative)
        jvp_noise = difference / (_mean_norm(exact.derivative) or 1.0)
    error = relative_error(exact.change, radius * exact.derivative)
    return Calibration(
        share_primals=not exact.inspector.changes_products,
        share_trunk=trial.share_trunk and not_interleaved is None,
        not_interleaved=not_interleaved,
        changes_state=bool(exact.changed),
        asks=not exact.asked.isdisjoint(directions.names),
        selects=bool(exact.selections.chosen),
        widest=exact.inspector.widest,
        tail=rounded.tail,
        step=trial.step,
        no_forward_mode=trial.no_forward_mode,
        only_exact=trial.only_exact,
        noise=noise,
        jvp_noise=jvp_noise,
        slope=_mean_norm(exact.derivative),
        curvature=float(error[error.isfinite()].mean().nan_to_num(0.0)) / radius,
    )


def _mean_norm(logits: Tensor) -> float:
    return float(logits.double().norm(dim=-1).mean())
