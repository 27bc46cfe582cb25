"""`Metric`: a function of true and predicted change of the logits, with a name and a good side."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

MetricFunction: TypeAlias = "Callable[[Tensor, Tensor, Tensor], Tensor]"
"""(change, predicted, baseline) -> figures, float64 Tensor [prompts].

`change` is f(θ* + rδ) − f(θ*) and `predicted` is r · J δ, its first-order prediction; `baseline` is
f(θ*). All three are float64 Tensors [prompts, V], so that `baseline + change` are the true logits
and `baseline + predicted` the predicted ones."""

Side: TypeAlias = Literal["smaller", "larger"]

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Metric:
    """A figure of every (radius, direction, prompt); its mean per radius may have a limit.

    A config names it in `metrics` (computed and reported) or in `limits` (it gates, too). The
    function is given float64 Tensors [prompts, V] and returns a Tensor [prompts], a figure for each
    prompt; where it raises, or gives anything else or a figure that is not finite, the radius does
    not comply, and the report says why. Its mean is over all (direction, prompt) pairs.

    Raises:
        ValueError: If a field cannot be what it is.
    """

    name: str
    """What configs and reports call it: lower case letters, digits and underscores."""
    label: str
    """What tables call it."""
    about: str
    """What it is, in one line: formula, unit, source."""
    function: MetricFunction
    """Computes it for the prompts of one batch."""
    good: Side = "smaller"
    """Which values are good ones: the mean must not be above its limit, or not below it."""
    limit: float | None = None
    """The limit it has wherever it is asked for, unless the config sets another; None for none."""

    def __post_init__(self) -> None:
        """Check what a user may have got wrong."""
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ValueError(
                f"{self.name!r} is not a name of a metric: lower case letters, digits, underscores"
            )
        for entry, value in (("label", self.label), ("about", self.about)):
            if not isinstance(value, str) or not value.strip() or not value.isprintable():
                raise ValueError(f"{self.name}: {entry} is {value!r}, not a line of text")
        if not callable(self.function):
            raise ValueError(f"{self.name}: function is {self.function!r}, not a function")
        if self.good not in ("smaller", "larger"):
            raise ValueError(f"{self.name}: good is {self.good!r}, neither smaller nor larger")
        if self.limit is not None and not math.isfinite(self.limit):
            raise ValueError(f"{self.name}: limit is {self.limit}, not a finite number")

    def keeps(self, limit: float, mean: float) -> bool:
        """Whether a mean is on the good side of a limit, or on it."""
        return mean <= limit if self.good == "smaller" else mean >= limit
