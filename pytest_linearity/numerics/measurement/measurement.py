"""What a measurement came to: every figure of one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

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


@dataclass(frozen=True)
class Refinement:
    """A crossing of the limits between two radii."""

    low: float
    """The largest radius found to comply below the crossing: the *refined linearity radius*."""
    high: float
    """The smallest radius found not to comply above it, at most 5% larger."""
    evaluated: tuple[float, ...]
    """The radii that were measured to find it, in the order of the bisection."""


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
    or ``nan`` in ε and c, see `relative_error`, and ``nan`` where another metric gave none."""
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

        curvature, refinement = self.curvature_ratio, self.refinement
        return replace(
            self,
            radii=tuple(radii),
            curvature_ratio=None if curvature is None else curvature / scale,
            refinement=None
            if refinement is None
            else replace(
                refinement,
                low=converted(refinement.low),
                high=converted(refinement.high),
                evaluated=tuple(map(converted, refinement.evaluated)),
            ),
        )
