"""The figures of all pairs, reduced from changes of logits as evaluations end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pytest_linearity.numerics.derivatives import curvature_ratio
from pytest_linearity.numerics.lockstep.evaluation import Evaluation
from pytest_linearity.numerics.metrics.changes import cosine_similarity, relative_error
from pytest_linearity.numerics.metrics.evaluate import evaluate, moved_by_rounding
from pytest_linearity.numerics.metrics.metric import Metric
from pytest_linearity.numerics.metrics.values import MetricValues

NoiseFloor = Callable[[Tensor, torch.dtype], Tensor]
"""Relative error from rounding; see `Calibration.noise_floor`."""


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
            metrics: What is computed besides relative error and cosine similarity.
            noise_floor: By which it is found how far rounding can move those metrics.
        """
        self._batches = batches
        self.directions: list[int] = []
        """The directions of which all figures are there, ascending."""
        self._metrics = metrics
        self._noise_floor = noise_floor
        self._failures: dict[tuple[str, float, int, int], str | None] = {}
        self._values: dict[tuple[str, float, int, int], Tensor] = {}
        self.derivatives: dict[tuple[int, int], Tensor] = {}
        """Jδ by (batch, direction), Tensor [prompts, V]."""
        self.second_derivatives: dict[tuple[int, int], Tensor] = {}
        """f''[δ, δ] by (batch, direction), Tensor [prompts, V], where it was asked for."""
        self._flips: dict[tuple[float, int, int], int] = {}
        self._ratios: dict[tuple[int, int], Tensor] = {}

    def add(self, evaluation: Evaluation, change: Tensor, baseline: Tensor) -> None:
        """Take in one true change, Tensor [prompts, V]; its derivative must be known.

        Args:
            evaluation: Where the change is from.
            change: f(θ* + rδ) − f(θ*), float64 Tensor [prompts, V].
            baseline: f(θ*), Tensor [prompts, V].
        """
        batch, k, radius = evaluation.batch, evaluation.direction, evaluation.step
        assert k is not None
        assert radius is not None
        predicted = radius * self.derivatives[batch, k].double()
        for name, value in (
            ("relative_error", relative_error(change, predicted)),
            ("cosine_similarity", cosine_similarity(change, predicted)),
            ("change", change.double().norm(dim=-1)),
        ):
            self._values[name, radius, k, batch] = value.cpu()
        if self._metrics:
            self._add_metrics((radius, k, batch), change, predicted, baseline)

    def _add_metrics(
        self, place: tuple[float, int, int], change: Tensor, predicted: Tensor, baseline: Tensor
    ) -> None:
        radius, k, batch = place
        given = change.double(), predicted, baseline.double()
        size = given[0].norm(dim=-1)
        # Where nothing has moved, rounding has not moved anything either.
        noise = (size * self._noise_floor(size, baseline.dtype)).masked_fill(size == 0, 0.0)
        for metric in self._metrics:
            figures, failure = evaluate(metric, *given)
            moved = moved_by_rounding(metric, figures, *given, noise)
            self._values[metric.name, radius, k, batch] = figures
            self._values[_noise(metric.name), radius, k, batch] = moved
            self._failures[metric.name, radius, k, batch] = failure

    def add_flips(self, evaluation: Evaluation, count: int) -> None:
        """Take in how many discrete choices of one evaluation differ from its baseline's."""
        assert evaluation.direction is not None
        assert evaluation.step is not None
        self._flips[evaluation.step, evaluation.direction, evaluation.batch] = count

    def flips(self, radius: float) -> int:
        """How many discrete choices changed at one radius, over all pairs."""
        return sum(count for (at, _, _), count in self._flips.items() if at == radius)

    def of_metrics(self, radius: float) -> list[MetricValues]:
        """The figures of the further metrics at one radius."""
        found = []
        for metric in self._metrics:
            reasons = (
                reason
                for (name, at, _, _), reason in self._failures.items()
                if name == metric.name and at == radius and reason is not None
            )
            values = self.stack(metric.name, radius)
            noise = self.stack(_noise(metric.name), radius)
            found.append(MetricValues(metric, values, noise, next(reasons, None)))
        return found

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

    def found(self, pairs: Pairs) -> dict[str, Any]:
        """The figures of some pairs, as plain data with tensors on the CPU, for `take_over`."""
        return {
            "values": {at: v for at, v in self._values.items() if pairs.hold(*at[1:])},
            "failures": {at: why for at, why in self._failures.items() if pairs.hold(*at[1:])},
            "flips": {at: n for at, n in self._flips.items() if pairs.hold(*at)},
            "ratios": {(b, k): v for (b, k), v in self._own_ratios().items() if pairs.of(b, k)},
        }

    def vectors(self, pairs: Pairs) -> dict[str, Any]:
        """What later figures of some pairs are made of, likewise."""
        return {
            name: {(b, k): v.cpu() for (b, k), v in found.items() if pairs.of(b, k)}
            for name, found in (
                ("derivatives", self.derivatives),
                ("second_derivatives", self.second_derivatives),
            )
        }

    def take_over(self, found: Mapping[str, Any], device: torch.device) -> None:
        """Take in what `found`, and perhaps `vectors`, gave elsewhere or at another time."""
        self._values.update(found["values"])
        self._failures.update(found["failures"])
        self._flips.update(found["flips"])
        self._ratios.update(found["ratios"])
        for name in ("derivatives", "second_derivatives"):
            moved = {pair: vector.to(device) for pair, vector in found.get(name, {}).items()}
            getattr(self, name).update(moved)

    def stack(self, name: str, radius: float) -> Tensor:
        """One figure at one radius, float64 Tensor [directions, prompts]."""
        return torch.stack(
            [
                torch.cat([self._values[name, radius, k, b] for b in range(self._batches)])
                for k in self.directions
            ]
        )


def _noise(name: str) -> str:
    return f"{name} noise"


class Pairs:
    """Pairs by what they may be of."""

    def __init__(
        self,
        radii: Iterable[float],
        directions: Iterable[int],
        batches: Iterable[int] | None = None,
    ) -> None:
        """Every batch where none are given."""
        self._radii = frozenset(radii)
        self._directions = frozenset(directions)
        self._batches = None if batches is None else frozenset(batches)

    def of(self, batch: int, direction: int) -> bool:
        """Whether a pair is one of them."""
        return direction in self._directions and (self._batches is None or batch in self._batches)

    def hold(self, radius: float, direction: int, batch: int) -> bool:
        """Whether it is at one of the radii, too."""
        return radius in self._radii and self.of(batch, direction)
