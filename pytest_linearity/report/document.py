"""The report: every figure of a run, ready to be written in any form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class RadiusFigures:
    """What was found at one radius.

    A figure that is not defined (a pair whose true change is zero, a value that is not finite) is
    ``None``, and ``reason`` says why.
    """

    radius: float
    """The radius r, in the Euclidean norm of the parameters in scope."""
    mean_relative_error: float | None
    """Mean of ε over all (direction, prompt) pairs."""
    std_relative_error: float | None
    """Standard deviation of ε over all pairs (population, as the pairs are all there are)."""
    mean_cosine_similarity: float | None
    """Mean of c over all pairs."""
    std_cosine_similarity: float | None
    """Standard deviation of c over all pairs."""
    noise_floor: float | None
    """Relative error that rounding alone causes at this radius."""
    precision: str
    """Arithmetic of the forwards at this radius: ``float32`` or ``float64``."""
    complies: bool
    """Whether both means are within their limits."""
    reason: str | None = None
    """Why it does not comply, as ``mean relative error 0.31 > 0.20``; ``None`` when it does."""
    routing_flips: int | None = None
    """Routing decisions of mixture-of-experts layers that differ between θ* and θ* + rδ, summed
    over all pairs; ``None`` for a model without routers."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of this radius, without the radius itself, which is its key."""
        figures = {
            "mean_relative_error": self.mean_relative_error,
            "std_relative_error": self.std_relative_error,
            "mean_cosine_similarity": self.mean_cosine_similarity,
            "std_cosine_similarity": self.std_cosine_similarity,
            "noise_floor": self.noise_floor,
            "precision": self.precision,
            "complies": self.complies,
            "reason": self.reason,
        }
        if self.routing_flips is not None:
            figures["routing_flips"] = self.routing_flips
        return figures


@dataclass(frozen=True)
class Report:
    """A whole run on one checkpoint."""

    config: Mapping[str, Any]
    """Every key in effect, defaults included."""
    checkpoint: Mapping[str, Any]
    """``path``, ``architecture``, ``parameters`` and ``dtype``."""
    radii: tuple[RadiusFigures, ...]
    """The figures, one entry per radius, in ascending order of radius."""
    linearity_radius: float | None
    """The largest tested radius that complies; ``None`` when none does."""
    passed: bool
    """Whether the gate passes."""
    probes: Mapping[str, Any] = field(default_factory=dict)
    """Which prompts were measured."""
    scope: Mapping[str, Any] = field(default_factory=dict)
    """Which parameters were perturbed."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    """Versions, device, precision used, JVP method, seconds, peak memory."""

    def at(self, radius: float) -> RadiusFigures:
        """The figures at a tested radius.

        Raises:
            KeyError: If the radius was not tested.
        """
        for figures in self.radii:
            if figures.radius == radius:
                return figures
        raise KeyError(radius)

    def to_dict(self) -> dict[str, Any]:
        """The report as the JSON object that is written to disk; holds no NaN or Infinity."""
        return {
            "schema_version": SCHEMA_VERSION,
            "config": dict(self.config),
            "checkpoint": dict(self.checkpoint),
            "probes": dict(self.probes),
            "scope": dict(self.scope),
            "metrics": {str(figures.radius): figures.to_dict() for figures in self.radii},
            "linearity_radius": self.linearity_radius,
            "passed": self.passed,
            "environment": dict(self.environment),
        }
