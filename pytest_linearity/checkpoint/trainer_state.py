"""What transformers' trainer notes beside a checkpoint: its step, and the learning rates so far."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FILE = "trainer_state.json"


@dataclass(frozen=True)
class TrainerState:
    """What a run has noted when it saved a checkpoint; None for what it has not."""

    step: int | None
    """Steps made."""
    learning_rate: float | None
    """The last rate above zero that it logged."""
    peak_learning_rate: float | None
    """The largest."""


def read_trainer_state(directory: Path) -> TrainerState:
    """Read what is there; a file that is missing or damaged says nothing.

    Args:
        directory: The checkpoint's.
    """
    try:
        document = json.loads((directory / _FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        document = {}
    step = document.get("global_step")
    known = isinstance(step, int) and not isinstance(step, bool) and step >= 0
    rates = _rates(document.get("log_history"))
    return TrainerState(
        step if known else None, rates[-1] if rates else None, max(rates, default=None)
    )


def _rates(history: Any) -> list[float]:
    """The rates above zero, in the order of the steps."""
    entries = history if isinstance(history, list) else []
    rates = [entry.get("learning_rate") for entry in entries if isinstance(entry, dict)]
    return [
        float(rate)
        for rate in rates
        if isinstance(rate, (int, float))
        and not isinstance(rate, bool)
        and math.isfinite(rate)
        and rate > 0
    ]
