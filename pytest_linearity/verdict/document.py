"""The report: every figure of a run, ready to be written in any form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from pytest_linearity.numerics.metrics.metric import Side
from pytest_linearity.verdict.confidence import Interval
from pytest_linearity.verdict.decode import decode, encode, number
from pytest_linearity.verdict.diagnosis_figures import (
    CurvatureFigures,
    Matrix,
    ProfileFigures,
    RefinedFigures,
)

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class MetricFigures:
    """What a metric that was asked for came to at one radius."""

    label: str
    """What tables call the metric."""
    good: Side
    """Which values are good ones: ``smaller`` or ``larger``."""
    mean: float | None
    """Mean over all (direction, prompt) pairs; ``None`` where one is not defined."""
    std: float | None
    """Standard deviation over all pairs (population)."""
    noise_floor: float | None
    """How far rounding alone can move the mean; ``None`` where that is not defined."""
    limit: float | None
    """What the mean is held against; ``None`` for a metric that does not gate."""
    complies: bool
    """Whether it is defined and keeps its limit, if it has one."""
    reason: str | None = None
    """Why it does not comply, as ``mean kl 0.08 > 0.05``; ``None`` when it does."""
    interval: Interval | None = None
    """Where the mean over all directions lies; ``None`` for a single one, or several kinds."""

    def keeps(self, limit: float) -> bool:
        """Whether the mean is defined and on the good side of a limit, or on it."""
        if self.mean is None:
            return False
        return self.mean <= limit if self.good == "smaller" else self.mean >= limit


@dataclass(frozen=True)
class KindFigures:
    """What was found at one radius along the directions of one kind."""

    mean_relative_error: float | None
    """Mean of ε over the (direction, prompt) pairs of this kind; ``None`` where not defined."""
    std_relative_error: float | None
    """Standard deviation of ε over these pairs (population)."""
    mean_cosine_similarity: float | None
    """Mean of c over these pairs."""
    std_cosine_similarity: float | None
    """Standard deviation of c over these pairs."""
    complies: bool
    """Whether all means of this kind are within their limits."""
    reason: str | None = None
    """Why not; ``None`` when they are."""
    metrics: Mapping[str, MetricFigures] = field(default_factory=dict)
    """What was asked for besides relative error and cosine similarity, by name."""
    interval_relative_error: Interval | None = None
    """Where the mean of ε over all directions of this kind lies; ``None`` for a single one."""
    interval_cosine_similarity: Interval | None = None
    """Where the mean of c over all directions of this kind lies."""
    inconclusive: bool = False
    """Whether more directions of this kind could change the verdict on it."""

    @classmethod
    def of(cls, figures: RadiusFigures) -> KindFigures:
        """What is kept of figures that were judged by themselves."""
        return cls(**{key.name: getattr(figures, key.name) for key in fields(cls)})

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of this kind."""
        figures: dict[str, Any] = encode(self)
        metrics = figures.pop("metrics")
        return {**figures, "metrics": metrics} if metrics else figures


@dataclass(frozen=True)
class RadiusFigures:
    """What was found at one radius.

    A figure that is not defined (a pair whose true change is zero, a value that is not finite) is
    ``None``, and ``reason`` says why.
    """

    radius: float
    """The radius r, in the unit of the config: the Euclidean norm of the step, or that over the
    norm of the parameters in scope."""
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
    """Whether all means are within their limits."""
    reason: str | None = None
    """Why it does not comply, as ``mean relative error 0.31 > 0.20``; ``None`` when it does."""
    routing_flips: int | None = None
    """Routing decisions of mixture-of-experts layers that differ between θ* and θ* + rδ, summed
    over all pairs; ``None`` for a model without routers."""
    metrics: Mapping[str, MetricFigures] = field(default_factory=dict)
    """What was asked for besides relative error and cosine similarity, by name."""
    by_kind: Mapping[str, KindFigures] = field(default_factory=dict)
    """Each kind of directions by itself, where there are several."""
    radius_absolute: float | None = None
    """The Euclidean norm of the step; ``None`` where the parameters' norm is not known."""
    radius_relative: float | None = None
    """That over the norm of the parameters in scope; ``None`` where it is not known or zero."""
    interval_relative_error: Interval | None = None
    """Where the mean of ε over all directions lies, at the confidence of ``sampling``; ``None`` for
    a single direction, or several kinds of them, which have intervals of their own."""
    interval_cosine_similarity: Interval | None = None
    """Where the mean of c over all directions lies."""
    inconclusive: bool = False
    """Whether a limit lies inside its interval, so that more directions could change the verdict;
    not so where another limit is surely broken."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of this radius, without the radius itself, which is its key."""
        figures: dict[str, Any] = {
            "mean_relative_error": self.mean_relative_error,
            "std_relative_error": self.std_relative_error,
            "mean_cosine_similarity": self.mean_cosine_similarity,
            "std_cosine_similarity": self.std_cosine_similarity,
            "noise_floor": self.noise_floor,
            "precision": self.precision,
            "complies": self.complies,
            "reason": self.reason,
            "interval_relative_error": encode(self.interval_relative_error),
            "interval_cosine_similarity": encode(self.interval_cosine_similarity),
            "inconclusive": self.inconclusive,
        }
        if self.routing_flips is not None:
            figures["routing_flips"] = self.routing_flips
        if self.metrics:
            figures["metrics"] = encode(self.metrics)
        if self.by_kind:
            figures["by_kind"] = {kind: found.to_dict() for kind, found in self.by_kind.items()}
        for key in ("radius_absolute", "radius_relative"):
            if getattr(self, key) is not None:
                figures[key] = getattr(self, key)
        return figures

    @classmethod
    def from_dict(cls, radius: float, figures: Mapping[str, Any]) -> RadiusFigures:
        """The exact inverse of `to_dict`; keys that are not known are left out.

        Raises:
            ValueError: If a figure is missing or of another type than it must be.
        """
        return decode(cls, figures, f"metrics.{radius}", radius=radius)


@dataclass(frozen=True)
class SamplingFigures:
    """The sample of random directions, and when it was looked at."""

    directions: int
    """How many directions of each random kind were measured; 0 where no kind is random."""
    rounds: tuple[int, ...]
    """How many there were after each round."""
    planned: tuple[int, ...]
    """How many there would have been after each round, had all been needed."""
    confidence: float
    """How often the intervals of all planned looks hold the true mean together."""
    level: float
    """Confidence of the interval of each look, which that takes."""
    settled: tuple[float, ...]
    """The radii whose verdict more directions would not change, at this confidence."""


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
    pairs: Mapping[str, Mapping[str, Matrix]] = field(default_factory=dict)
    """By radius (spelled as in ``metrics``) ``relative_error`` and ``cosine_similarity`` of every
    pair, each a list of directions that are lists of prompts; ``None`` where not finite."""
    sampling: SamplingFigures | None = None
    """How many directions were measured in how many rounds; ``None`` in reports of old."""
    second_order: CurvatureFigures | None = None
    """The curvature ratio and what it predicts; ``None`` if it was not asked for."""
    layers: ProfileFigures | None = None
    """The hidden states after every block; ``None`` if they were not asked for."""
    refined: RefinedFigures | None = None
    """The crossing between two radii; ``None`` if it was not asked for, or there is none."""

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
        further = {
            "sampling": self.sampling,
            "second_order": self.second_order,
            "layers": self.layers and self.layers.to_dict(),
            "refined": self.refined,
        }
        return {
            "schema_version": SCHEMA_VERSION,
            "config": dict(self.config),
            "checkpoint": dict(self.checkpoint),
            "probes": dict(self.probes),
            "scope": dict(self.scope),
            "metrics": {str(figures.radius): figures.to_dict() for figures in self.radii},
            "linearity_radius": self.linearity_radius,
            "passed": self.passed,
            "pairs": dict(self.pairs),
            "environment": dict(self.environment),
            **{name: encode(found) for name, found in further.items() if found is not None},
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Report:
        """The exact inverse of `to_dict`; keys that are not known are left out.

        Raises:
            ValueError: If a part is missing or of another type than it must be.
        """
        layers: dict[str, Any] = {}
        if "layers" in document:
            layers["layers"] = ProfileFigures.from_dict(document["layers"])
        return decode(cls, document, radii=_radii(document.get("metrics")), **layers)


def _radii(metrics: Any) -> tuple[RadiusFigures, ...]:
    if not isinstance(metrics, Mapping) or not metrics:
        raise ValueError("metrics holds no radius")
    entries = [(number(radius, "metrics"), figures) for radius, figures in metrics.items()]
    found = tuple(
        RadiusFigures.from_dict(radius, figures)
        for radius, figures in sorted(entries, key=lambda entry: entry[0])
    )
    for figures in found:
        if figures.metrics.keys() != found[0].metrics.keys():
            raise ValueError(f"metrics.{figures.radius}.metrics are not those of the other radii")
    return found
