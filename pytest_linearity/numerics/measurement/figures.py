"""The figures of all pairs, reduced from changes of logits as evaluations end.

A pair is of a direction and a prompt. Prompts come by the batch, so what is kept here is kept by
(batch, direction, radius): a few numbers for each prompt, and Jδ for the passes to come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pytest_linearity.numerics.derivatives import curvature_ratio
from pytest_linearity.numerics.lockstep.evaluation import Evaluation
from pytest_linearity.numerics.metrics.evaluate import evaluate, moved_by_rounding
from pytest_linearity.numerics.metrics.metric import Metric
from pytest_linearity.numerics.metrics.registry import ALWAYS
from pytest_linearity.numerics.metrics.values import MetricValues

NoiseFloor = Callable[[Tensor, torch.dtype], Tensor]
"""Relative error from rounding; see `Calibration.noise_floor`."""


_FEW = 0.01
"""Part of all choices that differ which does not matter."""


class PairKey(NamedTuple):
    """Where the figures of a batch's prompts are from."""

    batch: int
    direction: int
    radius: float

    @classmethod
    def of(cls, evaluation: Evaluation) -> PairKey:
        """Where the figures are from that an evaluation gives: one step along one direction."""
        assert evaluation.direction is not None
        assert evaluation.step is not None
        return cls(evaluation.batch, evaluation.direction, evaluation.step)


@dataclass
class _Figures:
    """The figures of a batch's prompts, float64 Tensors [prompts] on the CPU."""

    change: Tensor
    """‖Δ_true‖."""
    values: dict[str, Tensor]
    """By name of the metric, relative error and cosine similarity first."""
    noise: dict[str, Tensor] = field(default_factory=dict)
    """How far rounding can move those of the further metrics."""
    failures: dict[str, str] = field(default_factory=dict)
    """Why a metric's function gave none."""
    flips: int = 0
    """Discrete choices that differ from the baseline's, over all prompts."""
    ties: int = 0
    """Discrete choices, here or at θ*, that rounding in float32 may have turned."""
    departs: bool = False
    """Whether f(θ*) in float32 is not what it is in float64, of which the derivative is."""


class PairStore:
    """The figures of all pairs, as they come in."""

    def __init__(
        self,
        batches: int,
        metrics: Sequence[Metric],
        noise_floor: NoiseFloor,
    ) -> None:
        """Room for so many batches.

        Args:
            batches: How many batches.
            metrics: What is computed; relative error and cosine similarity are in any case.
            noise_floor: By which it is found how far rounding can move the other metrics.
        """
        self.directions: list[int] = []
        """The directions of which all figures are there, ascending."""
        self.derivatives: dict[tuple[int, int], Tensor] = {}
        """Jδ by (batch, direction), Tensor [prompts, V]."""
        self.second_derivatives: dict[tuple[int, int], Tensor] = {}
        """f''[δ, δ] by (batch, direction), Tensor [prompts, V], where it was asked for."""
        self.baselines: dict[tuple[int, int], Tensor] = {}
        """f(θ*) in float64, Tensor [prompts, V], by batch and first direction of the pass."""
        self._batches = batches
        self._further = [metric for metric in metrics if metric.name not in ALWAYS]
        self._noise_floor = noise_floor
        self._figures: dict[PairKey, _Figures] = {}
        self._ratios: dict[tuple[int, int], Tensor] = {}

    def add(self, evaluation: Evaluation, change: Tensor, baseline: Tensor) -> None:
        """Take in one true change; its derivative must be known.

        Args:
            evaluation: Where the change is from.
            change: f(θ* + rδ) − f(θ*), float64 Tensor [prompts, V].
            baseline: f(θ*), Tensor [prompts, V].
        """
        key = PairKey.of(evaluation)
        change = change.double()
        predicted = key.radius * self.derivatives[key.batch, key.direction].double()
        size = change.norm(dim=-1)
        logits = change, predicted, baseline
        figures = _Figures(size.cpu(), {m.name: m.function(*logits).cpu() for m in ALWAYS.values()})
        self._figures[key] = figures
        if not self._further:
            return
        # Where nothing has moved, rounding has not moved anything either.
        noise = (size * self._noise_floor(size, baseline.dtype)).masked_fill(size == 0, 0.0)
        logits = change, predicted, baseline.double()
        for metric in self._further:
            values, failure = evaluate(metric, *logits)
            figures.values[metric.name] = values
            figures.noise[metric.name] = moved_by_rounding(metric, values, *logits, noise)
            if failure is not None:
                figures.failures[metric.name] = failure

    def add_flips(self, evaluation: Evaluation, count: int, ties: int) -> None:
        """Take in how many discrete choices of an evaluation that was added differ, or may."""
        figures = self._figures[PairKey.of(evaluation)]
        figures.flips, figures.ties = count, ties

    def add_departure(self, evaluation: Evaluation) -> None:
        """Take in that the baseline of an evaluation that was added is not float64's."""
        self._figures[PairKey.of(evaluation)].departs = True

    def directions_at(self, radius: float) -> list[int]:
        """The directions that were measured at one radius, ascending."""
        return [k for k in self.directions if PairKey(0, k, radius) in self._figures]

    def change(self, radius: float) -> Tensor:
        """‖Δ_true‖ at one radius, float64 Tensor [`directions_at`, prompts]."""
        return self._stacked(radius, lambda figures: figures.change)

    def is_still(self, radius: float, rows: Sequence[int] | None = None) -> bool:
        """Whether no logit of any prompt moves at one radius, along any direction.

        Args:
            radius: The radius.
            rows: Which of `directions_at` count; None for all.
        """
        change = self.change(radius)
        return not (change if rows is None else change[list(rows)]).any()

    def values(self, radius: float) -> list[MetricValues]:
        """The figures of every metric at one radius, of the directions that were measured there.

        Relative error and cosine similarity come first.
        """
        return [self._values(metric, radius) for metric in (*ALWAYS.values(), *self._further)]

    def _values(self, metric: Metric, radius: float) -> MetricValues:
        name, everywhere = metric.name, [f for row in self._at(radius) for f in row]
        return MetricValues(
            metric,
            self._stacked(radius, lambda figures: figures.values[name]),
            None if name in ALWAYS else self._stacked(radius, lambda figures: figures.noise[name]),
            next((f.failures[name] for f in everywhere if name in f.failures), None),
        )

    def flips(self, radius: float, rows: Sequence[int] | None = None) -> int:
        """How many discrete choices changed at one radius, over all pairs; see `is_still`."""
        at = self._at(radius)
        chosen = at if rows is None else [at[row] for row in rows]
        return sum(figures.flips for row in chosen for figures in row)

    def is_in_doubt(self, radius: float) -> bool:
        """Whether float32 may have chosen otherwise than float64 at one radius, or surely has.

        A few choices among many that differ from the baseline's move the mean by as little as they
        are few.
        """
        everywhere = [figures for row in self._at(radius) for figures in row]
        ties = sum(figures.ties for figures in everywhere)
        return any(f.departs for f in everywhere) or ties > _FEW * self.flips(radius)

    def curvature_ratio(self) -> Tensor:
        """κ of all pairs, float64 Tensor [directions, prompts]."""
        ratios = {**self._ratios, **self._own_ratios()}
        return torch.stack(
            [torch.cat([ratios[b, k] for b in range(self._batches)]) for k in self.directions]
        )

    def _own_ratios(self) -> dict[tuple[int, int], Tensor]:
        return {
            pair: curvature_ratio(second, self.derivatives[pair]).cpu()
            for pair, second in self.second_derivatives.items()
        }

    def _at(self, radius: float) -> list[list[_Figures]]:
        """By direction and batch."""
        return [
            [self._figures[PairKey(b, k, radius)] for b in range(self._batches)]
            for k in self.directions_at(radius)
        ]

    def _stacked(self, radius: float, figure: Callable[[_Figures], Tensor]) -> Tensor:
        return torch.stack([torch.cat([figure(f) for f in row]) for row in self._at(radius)])

    def found(self, pairs: Pairs) -> dict[str, Any]:
        """The figures of some pairs, as plain data with tensors on the CPU, for `take_over`."""
        return {
            "figures": {tuple(at): vars(f) for at, f in self._figures.items() if pairs.hold(at)},
            "ratios": {at: ratio for at, ratio in self._own_ratios().items() if pairs.of(*at)},
        }

    def vectors(self, pairs: Pairs) -> dict[str, Any]:
        """What later figures of some pairs are made of, likewise."""
        return {
            name: {at: vector.cpu() for at, vector in vectors.items() if pairs.of(*at)}
            for name, vectors in (
                ("derivatives", self.derivatives),
                ("second_derivatives", self.second_derivatives),
                ("baselines", self.baselines),
            )
        }

    def take_over(self, entry: Mapping[str, Any], device: torch.device) -> None:
        """Take in what `found`, and perhaps `vectors`, gave elsewhere or at another time."""
        for at, figures in entry["figures"].items():
            self._figures[PairKey(*at)] = _Figures(**figures)
        self._ratios.update(entry["ratios"])
        for name in ("derivatives", "second_derivatives", "baselines"):
            moved = {pair: vector.to(device) for pair, vector in entry.get(name, {}).items()}
            getattr(self, name).update(moved)


class Pairs:
    """Some of the pairs of a measurement."""

    def __init__(
        self,
        radii: Iterable[float],
        directions: Iterable[int],
        batches: Iterable[int] | None = None,
    ) -> None:
        """Those at these radii, along these directions, of these batches; None for all batches."""
        self._radii = frozenset(radii)
        self._directions = frozenset(directions)
        self._batches = None if batches is None else frozenset(batches)

    def of(self, batch: int, direction: int) -> bool:
        """Whether they are among them at some radius."""
        return direction in self._directions and (self._batches is None or batch in self._batches)

    def hold(self, key: PairKey) -> bool:
        """Whether the prompts of a batch along a direction at a radius are among them."""
        return key.radius in self._radii and self.of(key.batch, key.direction)
