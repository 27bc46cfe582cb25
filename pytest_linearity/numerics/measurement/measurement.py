"""What a measurement came to: every figure of one model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pytest_linearity.numerics.directions.kinds import rows_by_kind
from pytest_linearity.numerics.metrics.metric import Metric
from pytest_linearity.numerics.metrics.registry import ALWAYS, COSINE_SIMILARITY, RELATIVE_ERROR
from pytest_linearity.numerics.metrics.values import MetricValues


@dataclass(frozen=True)
class LayerProfile:
    """Where along the blocks the change of the last token's hidden state stops being linear."""

    names: tuple[str, ...]
    """The blocks, in running order."""
    relative_error: Tensor
    """ε of the hidden states, float64 Tensor [radii, blocks, directions, prompts]; 0 for a block
    that nothing perturbed lies before."""
    cosine_similarity: Tensor
    """c of the hidden states, float64 Tensor [radii, blocks, directions, prompts]."""

    def at(self, places: Sequence[int]) -> LayerProfile:
        """The profile at some of the radii, by their places."""
        chosen = list(places)
        return LayerProfile(self.names, self.relative_error[chosen], self.cosine_similarity[chosen])

    def along(self, directions: Sequence[int]) -> LayerProfile:
        """The profile along some of the directions, by their places."""
        k = list(directions)
        return LayerProfile(
            self.names, self.relative_error[:, :, k], self.cosine_similarity[:, :, k]
        )


@dataclass(frozen=True)
class Refinement:
    """A crossing of the limits between two radii."""

    low: float
    """The largest radius found to comply below the crossing: the *refined linearity radius*."""
    high: float
    """The smallest radius found not to comply above it, at most 5% larger."""
    evaluated: tuple[float, ...]
    """The radii that were measured to find it, in the order of the bisection."""

    def converted(self, unit: Callable[[float], float]) -> Refinement:
        """The same in another unit, into which a function converts radii."""
        return Refinement(unit(self.low), unit(self.high), tuple(map(unit, self.evaluated)))


@dataclass(frozen=True)
class KindFacts:
    """What holds of the directions of one kind by themselves, where there are several kinds."""

    radii: tuple[float, ...]
    """The radii that they were measured at; figures at others are ``nan``."""
    noise_floor: tuple[float | None, ...]
    """Relative error that rounding alone causes at each of these; see `Measurement`."""
    routing_flips: tuple[int, ...] | None
    """Discrete choices that differ at each of these; None for a model that makes none."""
    still: tuple[bool, ...]
    """Whether no logit of any prompt moves along them at each of these."""
    refinement: Refinement | None = None
    """Their own crossing between two radii; None if not asked for, or if there is none."""

    def at(self, radii: Sequence[float]) -> KindFacts:
        """The facts at those of some radii that they were measured at."""
        kept = tuple(radius for radius in radii if radius in self.radii)
        places = [self.radii.index(radius) for radius in kept]
        flips = self.routing_flips
        return replace(
            self,
            radii=kept,
            noise_floor=tuple(self.noise_floor[place] for place in places),
            routing_flips=None if flips is None else tuple(flips[place] for place in places),
            still=tuple(self.still[place] for place in places),
        )


@dataclass(frozen=True)
class Measurement:
    """All figures of one model, one per (radius, direction, prompt).

    `measure` returns it, and the fixture `linearity_measurement` gives it. `relative_error`,
    `cosine_similarity` and each of `metrics` are float64 Tensors [radii, directions, prompts] on
    the CPU: radii and prompts in the order they were asked for, directions of one kind one after
    another. Nothing is held against a limit here; a `Report` is made of it.
    """

    radii: tuple[float, ...]
    """The radii, in the order they were asked for."""
    figures: Mapping[str, Tensor]
    """Every metric by name, relative error and cosine similarity first: float64 Tensors
    [radii, directions, prompts]. A pair whose figure is undefined is marked in the figure: ``inf``
    or ``nan`` in ε and c, see `relative_error`, and ``nan`` where another metric gave none; so is
    one that was not measured, as its kind of direction has other radii."""
    precision: tuple[str, ...]
    """Arithmetic of the forwards at each radius, `float32` or `float64`."""
    noise_floor: tuple[float | None, ...]
    """Relative error that rounding alone causes at each radius; None where it is not finite."""
    jvp_method: str
    """`forward-mode`, or `central-differences` where an operation has no forward derivative."""
    no_forward_mode: str | None
    """What forward mode failed at; None where it works."""
    routing_flips: tuple[int, ...] | None
    """Discrete choices that differ between θ* and θ* + rδ at each radius, over all pairs; None
    for a model that makes none."""
    curvature_ratio: Tensor | None = None
    """κ = ‖f''[δ, δ]‖ / ‖Jδ‖, float64 Tensor [directions, prompts], in one over the radius;
    None if it was not asked for. See `second_order`."""
    layers: LayerProfile | None = None
    """ε and c of the last token's hidden state after every block; None if not asked for."""
    refinement: Refinement | None = None
    """The crossing between two radii, bracketed; None if not asked for, or if there is none."""
    kinds: tuple[str, ...] = ()
    """The kind of each direction; empty where they are all of one."""
    directions: tuple[int, ...] = ()
    """Which of the planned directions each row is; empty where they are all there."""
    not_interleaved: str | None = None
    """Why evaluations ran one after another; None where they advanced together."""
    evaluations: int = 0
    """How many evaluations of one batch each the figures rest on, on all ranks together: in every
    pass a baseline, and along each direction its JVP and steps. The same whether they were measured
    at once or resumed."""
    evaluations_run: int = 0
    """How many have run now, those of failed attempts and repeated baselines included, and those
    left out that a journal had."""
    still: tuple[bool, ...] = ()
    """Whether no logit of any prompt moves at each radius, along any direction, so that ε = 0 and
    c = 1 say nothing of the model; empty where that is not known."""
    metric_noise: Mapping[str, Tensor] = field(default_factory=dict)
    """How far rounding can move each figure of further metrics, same shape; that of ε and c follows
    from the noise floor."""
    metric_failures: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    """Why the function of a metric that was asked for gave no figures at each radius; None where it
    always did."""
    by_kind: Mapping[str, KindFacts] = field(default_factory=dict)
    """What holds of each kind of directions by itself, where there are several; noise floor, flips
    and refinement above are of all of them together."""

    @property
    def relative_error(self) -> Tensor:
        """ε, float64 Tensor [radii, directions, prompts].

        ``inf`` where only the true change is zero, ``nan`` where a logit is not finite.
        """
        return self.figures[RELATIVE_ERROR.name]

    @property
    def cosine_similarity(self) -> Tensor:
        """c, float64 Tensor [radii, directions, prompts]; ``nan`` where ε is not finite."""
        return self.figures[COSINE_SIMILARITY.name]

    @property
    def metrics(self) -> Mapping[str, Tensor]:
        """The metrics that were asked for by name, float64 Tensors [radii, directions, prompts]."""
        return {name: self.figures[name] for name in self.metric_failures}

    def values(self, place: int, metrics: Sequence[Metric]) -> list[MetricValues]:
        """The figures at the radius of that place in `radii`.

        Args:
            place: The place.
            metrics: The further metrics that come after relative error and cosine similarity.
        """
        return [self._values(place, metric) for metric in (*ALWAYS.values(), *metrics)]

    def rows_at(self, radius: float) -> dict[str, list[int]]:
        """The directions of each kind that were measured at a radius, as rows of the figures."""
        rows = rows_by_kind(self.kinds, self.relative_error.shape[1])
        return {
            kind: k
            for kind, k in rows.items()
            if kind not in self.by_kind or radius in self.by_kind[kind].radii
        }

    def of_kind(self, kind: str) -> Measurement:
        """The measurement of one of several kinds of directions, as if it had been the only one.

        Raises:
            KeyError: If there are not several kinds, or not this one.
        """
        facts = self.by_kind[kind].at(self.radii)
        rows = rows_by_kind(self.kinds, len(self.kinds))[kind]
        at = self.at(facts.radii)
        curvature, layers, metrics = at.curvature_ratio, at.layers, at.metric_noise
        return replace(
            at,
            figures={name: values[:, rows] for name, values in at.figures.items()},
            noise_floor=facts.noise_floor,
            routing_flips=facts.routing_flips,
            still=facts.still,
            curvature_ratio=None if curvature is None else curvature[rows],
            layers=None if layers is None else layers.along(rows),
            refinement=facts.refinement,
            kinds=tuple(self.kinds[row] for row in rows),
            directions=tuple(self.directions[row] for row in rows if self.directions),
            metric_noise={name: noise[:, rows] for name, noise in metrics.items()},
            by_kind={},
        )

    def _values(self, place: int, metric: Metric) -> MetricValues:
        noise = self.metric_noise.get(metric.name)
        failures = self.metric_failures.get(metric.name)
        return MetricValues(
            metric,
            self.figures[metric.name][place],
            None if noise is None else noise[place],
            None if failures is None else failures[place],
        )

    def at(self, radii: Sequence[float]) -> Measurement:
        """The figures at some of the radii, in the order given.

        Raises:
            ValueError: If a radius was not measured.
        """
        if tuple(radii) == self.radii:
            return self
        places = [self.radii.index(radius) for radius in radii]
        flips = self.routing_flips
        return replace(
            self,
            radii=tuple(radii),
            figures={name: values[places] for name, values in self.figures.items()},
            precision=tuple(self.precision[place] for place in places),
            noise_floor=tuple(self.noise_floor[place] for place in places),
            routing_flips=None if flips is None else tuple(flips[place] for place in places),
            layers=None if self.layers is None else self.layers.at(places),
            still=tuple(self.still[place] for place in places if self.still),
            metric_noise={name: noise[places] for name, noise in self.metric_noise.items()},
            metric_failures={
                name: tuple(reasons[place] for place in places)
                for name, reasons in self.metric_failures.items()
            },
            by_kind={kind: facts.at(radii) for kind, facts in self.by_kind.items()},
        )

    def in_order(self, rows: Sequence[int]) -> Measurement:
        """The measurement with its prompts in another order.

        Args:
            rows: Where each prompt belongs, by its present place.
        """
        places = torch.tensor(list(rows)).argsort()
        curvature, layers = self.curvature_ratio, self.layers
        return replace(
            self,
            figures={name: values[..., places] for name, values in self.figures.items()},
            curvature_ratio=None if curvature is None else curvature[..., places],
            layers=None
            if layers is None
            else replace(
                layers,
                relative_error=layers.relative_error[..., places],
                cosine_similarity=layers.cosine_similarity[..., places],
            ),
            metric_noise={name: noise[..., places] for name, noise in self.metric_noise.items()},
        )

    def in_unit(self, radii: Sequence[float]) -> Measurement:
        """The measurement with its radii, and all that is measured in them, in another unit.

        Args:
            radii: The same radii in that unit, in the same order.
        """
        scale = radii[-1] / self.radii[-1]
        tested = dict(zip(self.radii, radii, strict=True))

        def converted(radius: float) -> float:
            return tested.get(radius, radius * scale)

        curvature = self.curvature_ratio
        return replace(
            self,
            radii=tuple(radii),
            curvature_ratio=None if curvature is None else curvature / scale,
            refinement=self.refinement and self.refinement.converted(converted),
            by_kind={
                kind: replace(
                    facts,
                    radii=tuple(map(converted, facts.radii)),
                    refinement=facts.refinement and facts.refinement.converted(converted),
                )
                for kind, facts in self.by_kind.items()
            },
        )
