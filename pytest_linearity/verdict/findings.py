"""What was found out about a checkpoint, before any limit is held against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_linearity.numerics.measurement.measurement import Measurement


@dataclass(frozen=True)
class Findings:
    """All that a measurement takes minutes to find, and no more.

    A verdict under any limits is made of it in a moment (`judge`), so this is what is kept in the
    cache, shared between processes and handed to fixtures. It holds plain data and tensors on the
    CPU, and nothing of the model.
    """

    measurement: Measurement
    """The figures of every (radius, direction, prompt)."""
    checkpoint: Mapping[str, Any]
    """``path``, ``architecture``, ``parameters`` and ``dtype``."""
    probes: Mapping[str, Any]
    """Which prompts were measured."""
    scope: Mapping[str, Any]
    """Which parameters were perturbed."""
    environment: Mapping[str, Any]
    """Versions, device, precision used, JVP method, seconds, peak memory, time and day."""
