"""What was found out about a checkpoint, before any limit is held against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config
    from pytest_linearity.numerics.measurement.measurement import Measurement


@dataclass(frozen=True)
class UpdateFindings:
    """What was found along the update from a base, at its own length: from θ* back to the base."""

    base: str
    """The base, as it is named."""
    named_by: str | None
    """The file beside the checkpoint that names it; None where the config does."""
    norm: float | None = None
    """‖θ* − θ_base‖ over the parameters in scope; None where it was not measured."""
    measurement: Measurement | None = None
    """The figures of the one direction at the one radius, the norm."""
    low: float | None = None
    """The largest length along it below the crossing of the limits that complies; None for none."""
    high: float | None = None
    """The smallest above it that does not; None where all that were tried comply."""
    skipped: str | None = None
    """Why it was not measured, where its base was not named by the config."""


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
    radii: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """The radii that measuring has chosen, by kind of directions, in the unit of the config."""
    update: UpdateFindings | None = None
    """What was found along the update; None where no base is known, or its gate is off."""

    def settled(self, config: Config) -> Config:
        """A config with the radii that were chosen for it."""
        return config.with_radii(self.radii) if config.automatic else config
