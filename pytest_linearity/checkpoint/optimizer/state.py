"""What is known of an optimizer's state: two moments of every parameter, and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class AdamSettings:
    """The settings of one group of parameters of Adam or AdamW."""

    beta1: float
    """Decay of the first moment."""
    beta2: float
    """Decay of the second moment."""
    eps: float
    """What is added to the root of the second moment."""
    weight_decay: float
    """λ, per unit of the learning rate."""
    decoupled: bool
    """Whether λθ is taken off the parameters (AdamW), or added to the gradient (Adam)."""


@dataclass(frozen=True)
class AdamMoments:
    """The state of one parameter."""

    first: Tensor
    """Running mean of the gradient, floating Tensor of the parameter's shape, on the CPU."""
    second: Tensor
    """Running mean of the squared gradient (its maximum, with AMSGrad), likewise."""
    step: int
    """How many steps they have seen, at least 1."""
    settings: AdamSettings
    """Those of its group."""


@dataclass(frozen=True)
class OptimizerState:
    """The state of Adam or AdamW, by the names of the parameters."""

    moments: Mapping[str, AdamMoments]
    """By canonical name, of every parameter of the model."""

    @property
    def step(self) -> int:
        """How many steps the optimizer has made; the largest, where parameters differ."""
        return max(entry.step for entry in self.moments.values())

    @property
    def name(self) -> str:
        """`AdamW`, or `Adam` where weights decay through the gradient."""
        coupled = any(
            entry.settings.weight_decay and not entry.settings.decoupled
            for entry in self.moments.values()
        )
        return "Adam" if coupled else "AdamW"
