"""What a measurement is told: all that stays the same from its calibration to its last pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from pytest_linearity.numerics.directions.directions import Directions
from pytest_linearity.numerics.lockstep.logits import Logits
from pytest_linearity.numerics.measurement.jobs import Alone, Engine
from pytest_linearity.numerics.measurement.layers import LayerTaps
from pytest_linearity.numerics.measurement.resume import Journal
from pytest_linearity.numerics.metrics.metric import Metric
from pytest_linearity.numerics.ranks import ProcessGroup, SingleProcess


@dataclass(frozen=True)
class Setup:
    """What is measured, and by what means.

    `measure` makes one of its arguments. Whoever measures several scopes at once, on several
    ranks, or so that a later process can go on, makes one for `measure_with`: an engine, a group
    and a journal change how long a measurement takes, and no figure of it.

    Raises:
        ValueError: If there is no batch, or no such precision.
    """

    model: nn.Module
    """Any module; it is left bit for bit as it was."""
    batches: Sequence[Logits]
    """Run the model on the prompts, one batch each; their inputs lie on `device`."""
    directions: Directions
    """Unit directions over the model's parameters."""
    device: torch.device
    """Where evaluations are computed."""
    precision: str = "auto"
    """`float32`, `float64` or `auto`; see `measure`."""
    calibration: Logits | None = None
    """Runs the model on a small part of the prompts; None takes the first batch."""
    taps: LayerTaps | None = None
    """What takes hidden states; the same for measurements that run at once. None for none."""
    metrics: Sequence[Metric] = ()
    """What is computed besides relative error and cosine similarity."""
    engine: Engine = field(default_factory=Alone)
    """Runs the evaluations."""
    group: ProcessGroup = field(default_factory=SingleProcess)
    """The ranks that measure together, each with the same setup but for its own device."""
    journal: Journal | None = None
    """Where results are kept as they come, and taken from; None for nowhere."""

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        if not self.batches:
            raise ValueError("logits is empty; at least one batch is needed")
        if self.precision not in ("auto", "float32", "float64"):
            raise ValueError(
                f"precision is {self.precision!r}; accepted are auto, float32 and float64"
            )
