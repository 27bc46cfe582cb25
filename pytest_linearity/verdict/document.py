"""The report: every figure of a run, ready to be written in any form, and read back.

Figures nest: a `Report` has `RadiusFigures`, these have `MetricFigures` by name of the metric, and
`SampleFigures` for each kind of direction where there are several. In JSON relative error and
cosine similarity are keys of their radius, ``mean_relative_error`` and so on, and further metrics
objects of their own; here all metrics are alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_linearity.numerics.metrics.metric import Metric, Side
from pytest_linearity.numerics.metrics.registry import ALWAYS, LIMIT_KEYS
from pytest_linearity.verdict.confidence import Interval
from pytest_linearity.verdict.decode import decode, decode_value, encode, number
from pytest_linearity.verdict.diagnosis_figures import (
    CurvatureFigures,
    Matrix,
    ProfileFigures,
    RefinedFigures,
)
from pytest_linearity.verdict.update_figures import UpdateFigures

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class MetricFigures:
    """What a metric came to at one radius: its mean, how far that is known, and its limit.

    Relative error and cosine similarity have one like any other metric. Why they do not comply the
    reason of their radius says, and how far rounding moves them its noise floor; it is not said
    here once more.
    """

    label: str
    """What tables call the metric."""
    good: Side
    """Which values are good ones: ``smaller`` or ``larger``."""
    mean: float | None
    """Mean over all (direction, prompt) pairs; ``None`` where one is not defined."""
    std: float | None
    """Standard deviation over all pairs (population, as the pairs are all there are)."""
    noise_floor: float | None
    """How far rounding alone can move the mean; ``None`` where that is not defined."""
    limit: float | None
    """What the mean is held against; ``None`` for a metric that does not gate."""
    complies: bool
    """Whether it is defined and keeps its limit, if it has one."""
    reason: str | None = None
    """Why it does not comply, as ``mean kl 0.08 > 0.05``; ``None`` when it does."""
    interval: Interval | None = None
    """Where the mean over all directions lies, at the confidence of ``sampling``; ``None`` for a
    single direction, or several kinds of them, which have intervals of their own."""

    @classmethod
    def always(
        cls,
        metric: Metric,
        mean: float | None,
        std: float | None,
        interval: Interval | None,
        limit: float | None,
    ) -> MetricFigures:
        """The figures of relative error or cosine similarity."""
        complies = mean is not None and (limit is None or metric.keeps(limit, mean))
        return cls(metric.label, metric.good, mean, std, None, limit, complies, interval=interval)

    def keeps(self, limit: float) -> bool:
        """Whether the mean is defined and on the good side of a limit, or on it."""
        if self.mean is None:
            return False
        return self.mean <= limit if self.good == "smaller" else self.mean >= limit


@dataclass(frozen=True, kw_only=True)
class SampleFigures:
    """What was found at one radius along a sample of directions: those of one kind, or all."""

    figures: Mapping[str, MetricFigures]
    """Every metric by name, relative error and cosine similarity first."""
    noise_floor: float | None = None
    """Relative error that rounding alone causes in this sample; ``None`` where not known."""
    routing_flips: int | None = None
    """Routing decisions of mixture-of-experts layers that differ between θ* and θ* + rδ, summed
    over all pairs of the sample; ``None`` for a model without routers."""
    complies: bool
    """Whether all means are within their limits."""
    reason: str | None = None
    """Why it does not comply, as ``mean relative error 0.31 > 0.20``; ``None`` when it does."""
    inconclusive: bool = False
    """Whether a limit lies inside its interval, so that more directions could change the verdict;
    not so where another limit is surely broken."""

    @property
    def mean_relative_error(self) -> float | None:
        """Mean of ε over all (direction, prompt) pairs; None where one is not defined."""
        return self.figures["relative_error"].mean

    @property
    def std_relative_error(self) -> float | None:
        """Standard deviation of ε over all pairs (population, as the pairs are all there are)."""
        return self.figures["relative_error"].std

    @property
    def interval_relative_error(self) -> Interval | None:
        """Where the mean of ε over all directions lies; see `MetricFigures.interval`."""
        return self.figures["relative_error"].interval

    @property
    def mean_cosine_similarity(self) -> float | None:
        """Mean of c over all pairs; None where one is not defined."""
        return self.figures["cosine_similarity"].mean

    @property
    def std_cosine_similarity(self) -> float | None:
        """Standard deviation of c over all pairs."""
        return self.figures["cosine_similarity"].std

    @property
    def interval_cosine_similarity(self) -> Interval | None:
        """Where the mean of c over all directions lies."""
        return self.figures["cosine_similarity"].interval

    @property
    def metrics(self) -> Mapping[str, MetricFigures]:
        """What was asked for besides relative error and cosine similarity, by name."""
        return {name: metric for name, metric in self.figures.items() if name not in ALWAYS}

    def to_dict(self) -> dict[str, Any]:
        """The JSON object, in which relative error and cosine similarity are spelled out."""
        return {
            **self._means(),
            "noise_floor": self.noise_floor,
            "complies": self.complies,
            "reason": self.reason,
            **self._intervals(),
            "inconclusive": self.inconclusive,
            **self._flips(),
            **self._further(),
        }

    def _flips(self) -> dict[str, Any]:
        return {} if self.routing_flips is None else {"routing_flips": self.routing_flips}

    def _means(self) -> dict[str, Any]:
        return {
            f"{part}_{name}": getattr(self.figures[name], part)
            for name in ALWAYS
            for part in ("mean", "std")
        }

    def _intervals(self) -> dict[str, Any]:
        return {f"interval_{name}": encode(self.figures[name].interval) for name in ALWAYS}

    def _further(self) -> dict[str, Any]:
        return {"metrics": encode(self.metrics)} if self.metrics else {}


@dataclass(frozen=True, kw_only=True)
class RadiusFigures(SampleFigures):
    """What was found at one radius, over all directions and for each kind of them.

    Where there are several kinds, figures of all of them together say little: a radius complies
    when every kind in `by_kind` does.

    `figures` holds every metric; `mean_relative_error`, `std_relative_error`,
    `interval_relative_error` and the same of `cosine_similarity` are short for those that always
    are there. A figure that is not defined (a pair whose true change is zero, a value that is not
    finite) is ``None``, and `reason` says why.
    """

    radius: float
    """The radius r, in the unit of the config: the Euclidean norm of the step, or that over the
    norm of the parameters in scope."""
    noise_floor: float | None = field()
    """Relative error that rounding alone causes at this radius."""
    precision: str
    """Arithmetic of the forwards at this radius: ``float32`` or ``float64``."""
    by_kind: Mapping[str, SampleFigures] = field(default_factory=dict)
    """Each kind of directions that has this radius by itself, where there are several."""
    radius_absolute: float | None = None
    """The Euclidean norm of the step; ``None`` where the parameters' norm is not known."""
    radius_relative: float | None = None
    """That over the norm of the parameters in scope; ``None`` where it is not known or zero."""
    radius_in_updates: float | None = None
    """That over the norm of the update in scope; ``None`` where no base is known."""
    learning_rate: float | None = None
    """The rate at which the optimizer's next step has that length; ``None`` where its state was not
    asked for."""
    adamw_learning_rates: Interval | None = None
    """The rates between which a step of AdamW has that length, in the steady state and among the
    first steps; ``None`` where it is not known."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of this radius, without the radius itself, which is its key."""
        by_kind = {kind: figures.to_dict() for kind, figures in self.by_kind.items()}
        units = {
            "radius_absolute": self.radius_absolute,
            "radius_relative": self.radius_relative,
            "radius_in_updates": self.radius_in_updates,
            "learning_rate": self.learning_rate,
            "adamw_learning_rates": encode(self.adamw_learning_rates),
        }
        return {
            **self._means(),
            "noise_floor": self.noise_floor,
            "precision": self.precision,
            "complies": self.complies,
            "reason": self.reason,
            **self._intervals(),
            "inconclusive": self.inconclusive,
            **self._flips(),
            **self._further(),
            **({"by_kind": by_kind} if by_kind else {}),
            **{key: radius for key, radius in units.items() if radius is not None},
        }

    @classmethod
    def from_dict(
        cls,
        radius: float,
        values: Any,
        limits: Mapping[str, float | None],
        limits_by_kind: Mapping[str, Mapping[str, float | None]] | None = None,
    ) -> RadiusFigures:
        """The exact inverse of `to_dict`; keys that are not known are left out.

        Args:
            radius: The radius.
            values: The JSON object.
            limits: Of relative error and cosine similarity, by name.
            limits_by_kind: Those of kinds of directions that have others.

        Raises:
            ValueError: If a figure is missing or of another type than it must be.
        """
        name = f"metrics.{radius}"
        figures = _figures(values, name, limits)
        own = limits_by_kind or {}
        kinds = decode_value(Mapping[str, Any], values.get("by_kind", {}), f"{name}.by_kind")
        by_kind = {
            kind: decode(
                SampleFigures,
                {"noise_floor": values.get("noise_floor"), **sample},
                where,
                figures=_figures(sample, where, own.get(kind, limits)),
            )
            for kind, sample in kinds.items()
            for where in [f"{name}.by_kind.{kind}"]
        }
        return decode(cls, values, name, radius=radius, figures=figures, by_kind=by_kind)


@dataclass(frozen=True)
class _Always:
    """Relative error and cosine similarity as the JSON of a sample spells them."""

    mean_relative_error: float | None
    std_relative_error: float | None
    mean_cosine_similarity: float | None
    std_cosine_similarity: float | None
    interval_relative_error: Interval | None = None
    interval_cosine_similarity: Interval | None = None


def _figures(
    values: Any, name: str, limits: Mapping[str, float | None]
) -> dict[str, MetricFigures]:
    """Every metric of a sample, from its JSON."""
    spelled = decode(_Always, values, name)
    figures = {
        metric: MetricFigures.always(
            ALWAYS[metric],
            getattr(spelled, f"mean_{metric}"),
            getattr(spelled, f"std_{metric}"),
            getattr(spelled, f"interval_{metric}"),
            limits[metric],
        )
        for metric in ALWAYS
    }
    further = values.get("metrics", {})
    figures.update(decode_value(Mapping[str, MetricFigures], further, f"{name}.metrics"))
    return figures


@dataclass(frozen=True)
class SamplingFigures:
    """How many random directions there are, in how many rounds, and what they have settled."""

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
    """A whole run on one checkpoint: the verdict, its figures, and what they were taken with.

    `analyze` returns it, and the fixture `linearity_report` gives it. `at(radius)` are the figures
    of one radius, reduced over all (direction, prompt) pairs; `pairs` holds those of every pair.
    `to_dict` is the JSON object that ``--linearity-report`` writes, and `from_dict` reads it.
    """

    config: Mapping[str, Any]
    """Every key in effect, defaults included."""
    checkpoint: Mapping[str, Any]
    """``path``, ``architecture``, ``parameters`` and ``dtype``; ``dtypes`` if there are several."""
    radii: tuple[RadiusFigures, ...]
    """The figures, one entry per radius, in ascending order of radius."""
    linearity_radius: float | None
    """The largest tested radius that complies, of several kinds of directions that of the worst;
    ``None`` when none does."""
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
    """The crossing between two radii, of several kinds of directions the smallest; ``None`` if it
    was not asked for, or there is none."""
    refined_by_kind: Mapping[str, RefinedFigures] = field(default_factory=dict)
    """The crossing of each of several kinds that has one."""
    update: UpdateFigures | None = None
    """The fine-tune in its own unit; ``None`` where no base is known, or its gate is off."""

    @property
    def limits(self) -> Mapping[str, float]:
        """What the mean of each metric that gates was held against, by name of the metric.

        Where kinds of directions have limits of their own, those are left out; see `of_kind`.
        """
        figures = self.radii[0].figures
        return {name: metric.limit for name, metric in figures.items() if metric.limit is not None}

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
            "refined_by_kind": self.refined_by_kind,
            "update": self.update,
        }
        by_kind = linearity_radii(self.radii)
        return {
            "schema_version": SCHEMA_VERSION,
            "config": dict(self.config),
            "checkpoint": dict(self.checkpoint),
            "probes": dict(self.probes),
            "scope": dict(self.scope),
            "metrics": {str(figures.radius): figures.to_dict() for figures in self.radii},
            "linearity_radius": self.linearity_radius,
            **({"linearity_radius_by_kind": by_kind} if by_kind else {}),
            "passed": self.passed,
            "pairs": dict(self.pairs),
            "environment": dict(self.environment),
            **{name: _without_empty(encode(part)) for name, part in further.items() if part},
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
        report = decode(cls, document, radii=(), **layers)
        return replace(report, radii=_radii(document.get("metrics"), _limits(report.config)))


def linearity_radii(radii: Sequence[RadiusFigures]) -> dict[str, float | None]:
    """The largest tested radius at which each of several kinds complies; empty for one kind."""
    kinds = dict.fromkeys(kind for figures in radii for kind in figures.by_kind)
    return {
        kind: max(
            (f.radius for f in radii if kind in f.by_kind and f.by_kind[kind].complies),
            default=None,
        )
        for kind in kinds
    }


def _without_empty(part: Any) -> Any:
    """Part of a report that has no `by_kind` where there is one kind."""
    if not isinstance(part, dict):
        return part
    kept = {key: value for key, value in part.items() if key != "by_kind" or value}
    return {key: _without_empty(value) for key, value in kept.items()}


def _limits(config: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """The limits of relative error and cosine similarity by kind of directions.

    Under an empty name are those of all kinds; None for one that each kind has for itself.
    """
    shared: dict[str, float | None] = {}
    own: dict[str, dict[str, float]] = {}
    for name, key in LIMIT_KEYS.items():
        limit, where = config.get(key), f"config.{key}"
        if isinstance(limit, Mapping):
            shared[name] = None
            for kind, of_kind in decode_value(Mapping[str, float], limit, where).items():
                own.setdefault(kind, {})[name] = of_kind
        else:
            shared[name] = decode_value(float, limit, where)
    return {"": shared, **{kind: {**shared, **limits} for kind, limits in own.items()}}


def _radii(
    metrics: Any, limits: Mapping[str, Mapping[str, float | None]]
) -> tuple[RadiusFigures, ...]:
    if not isinstance(metrics, Mapping) or not metrics:
        raise ValueError("metrics holds no radius")
    entries = [(number(radius, "metrics"), figures) for radius, figures in metrics.items()]
    radii = tuple(
        RadiusFigures.from_dict(radius, figures, limits[""], limits)
        for radius, figures in sorted(entries, key=lambda entry: entry[0])
    )
    for figures in radii:
        if figures.figures.keys() != radii[0].figures.keys():
            raise ValueError(f"metrics.{figures.radius}.metrics are not those of the other radii")
    return radii
