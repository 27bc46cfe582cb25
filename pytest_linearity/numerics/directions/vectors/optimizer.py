"""The next step of Adam or AdamW, per unit of the learning rate, taken a few rows at a time.

    u = −( m̂ / (√v̂ + ε) + λθ ),    m̂ = m / (1 − β₁ᵗ),    v̂ = v / (1 − β₂ᵗ)

with the moments m and v after t steps (D. P. Kingma, J. Ba, Adam: A Method for Stochastic
Optimization, ICLR 2015; decoupled decay λ: I. Loshchilov, F. Hutter, Decoupled Weight Decay
Regularization, ICLR 2019). It is what the optimizer does next where the next gradient is what its
moments expect: m̂ and v̂ are the same after a step with gradient m̂ and squared gradient v̂. The step
at a learning rate η is η u, so the norm of u turns a learning rate into a radius.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pytest_linearity.numerics.directions.layout import matrix_shape
from pytest_linearity.numerics.directions.seeds import Shapes
from pytest_linearity.numerics.directions.vectors.tensors import tensors_digest


class Settings(Protocol):
    """The settings of one group of parameters of Adam or AdamW."""

    @property
    def beta1(self) -> float:
        """Decay of the first moment."""

    @property
    def beta2(self) -> float:
        """Decay of the second moment."""

    @property
    def eps(self) -> float:
        """What is added to the root of the second moment."""

    @property
    def weight_decay(self) -> float:
        """λ, per unit of the learning rate."""

    @property
    def decoupled(self) -> bool:
        """Whether λθ is taken off the parameters, or is in the gradient already."""


class Moments(Protocol):
    """The state of one parameter: floating Tensors of its shape, and a count."""

    @property
    def first(self) -> Tensor:
        """Running mean of the gradient."""

    @property
    def second(self) -> Tensor:
        """Running mean of the squared gradient."""

    @property
    def step(self) -> int:
        """How many steps they have seen, at least 1."""

    @property
    def settings(self) -> Settings:
        """Those of its group."""


class OptimizerStep:
    """The step that an optimizer's state leads to, from the parameters as they are."""

    label = "next step of the optimizer"
    zero = "the optimizer would not move any parameter in scope"

    def __init__(
        self, model: nn.Module, moments: Mapping[str, Moments], facts: Mapping[str, Any]
    ) -> None:
        """The step of a model.

        Args:
            model: The model, whose parameters weight decay acts on.
            moments: The state of every parameter, by canonical name.
            facts: What the report says of the state, as its name and step.
        """
        self._parameters = dict(model.named_parameters())
        self._moments = moments
        self._facts = facts

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Some rows of u: float64 Tensor [stop - start, width]."""
        moments, parameter = self._moments[name], self._parameters[name]
        shape = matrix_shape(tuple(parameter.shape))

        def rows(tensor: Tensor) -> Tensor:
            return tensor.detach().reshape(shape)[start:stop].to("cpu").double()

        settings, t = moments.settings, moments.step
        first = rows(moments.first) / (1 - settings.beta1**t)
        # As torch has it, the bias of the root is corrected and ε added to the result.
        root = rows(moments.second).sqrt() / sqrt(1 - settings.beta2**t)
        step = first / (root + settings.eps)
        # An entry that has never had a gradient stays where it is, also where ε is zero.
        step = torch.where(first == 0, 0.0, step)
        if settings.weight_decay and settings.decoupled:
            step = step + settings.weight_decay * rows(parameter)
        return -step

    def facts(self, shapes: Shapes) -> Mapping[str, Any]:
        """The state's own facts, and a digest of its moments in scope."""
        tensors = (
            (f"{name} {which}", tensor)
            for name in sorted(shapes)
            for which, tensor in (
                ("first", self._moments[name].first),
                ("second", self._moments[name].second),
            )
        )
        return {**self._facts, "digest": tensors_digest(tensors)}
