"""What evaluations give, reduced to figures as soon as all it takes is there.

Logits of a vocabulary are large and figures are numbers, so that nothing may be kept for longer
than it is needed: a step's logits until its baseline and its derivative are there, a baseline
until its round is done, a derivative for the passes to come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pytest_linearity.numerics.calibration.calibration import Calibration
from pytest_linearity.numerics.derivatives import (
    extrapolate,
    extrapolate_second,
    second_derivative,
)
from pytest_linearity.numerics.lockstep.dual import unpack_dual
from pytest_linearity.numerics.lockstep.evaluation import PREFIX, Evaluation
from pytest_linearity.numerics.lockstep.logits import Logits, check_logits, real_tokens
from pytest_linearity.numerics.lockstep.tail import TailMismatch
from pytest_linearity.numerics.measurement.figures import PairStore
from pytest_linearity.numerics.measurement.layers import LayerFigures
from pytest_linearity.numerics.measurement.schedule import Wanted
from pytest_linearity.numerics.routing import Selections, flips, near_ties

_DEPARTURE = 10
"""So many times what calibration has seen of it: longer prompts add up more rounding."""
_LEAST_DEPARTURE = 1e-6

Pair = tuple[int, int]
"""(batch, direction)."""


class Reduction:
    """Takes evaluations in as they end, in any order, and keeps no more of them than it must.

    It is the sink of a `Job`. For a pair (batch, direction) it holds Jδ against the change of
    every step; for that, Jδ comes from a JVP, is extrapolated from central differences, or lies in
    `figures` from an earlier pass. All logits are float Tensors [prompts, V] on the device of the
    evaluations; changes are taken in float64.
    """

    def __init__(
        self,
        wanted: Wanted,
        figures: PairStore,
        layers: LayerFigures | None,
        batches: Sequence[Logits],
        *,
        calibration: Calibration,
        has_tail: bool,
    ) -> None:
        """Reduce the evaluations of a pass, or of a round of it.

        Args:
            wanted: What the pass is to find out.
            figures: Takes figures and derivatives; has the derivatives if `wanted` has not.
            layers: Where figures of hidden states go, if there are any beside the logits.
            batches: The calls of all batches.
            calibration: What is known of the model.
            has_tail: Whether rows were left out.
        """
        self._wanted = wanted
        self._figures = figures
        self._layers = layers
        self._batches = batches
        self._selects = calibration.selects
        self._calibration = calibration
        self._has_tail = has_tail
        self._differences = frozenset(wanted.differences)
        self._baselines: dict[int, Tensor] = {}
        self._departing: set[int] = set()
        self._with_derivative: set[Pair] = set()
        self._values: dict[Pair, dict[float, Tensor]] = {}
        self._tangents: dict[Pair, dict[float, Tensor]] = {}
        self._early: list[tuple[Evaluation, Tensor]] = []
        self._selections: dict[Evaluation, Selections] = {}

    def modes(self, evaluation: Evaluation) -> list[TorchFunctionMode]:
        """The mode that notes an evaluation's discrete choices, where the model makes any."""
        if not self._selects or evaluation.is_jvp:
            return []
        self._selections[evaluation] = Selections()
        return [self._selections[evaluation]]

    def take(self, evaluation: Evaluation, output: Tensor) -> None:
        """Take in an evaluation that has ended.

        Args:
            evaluation: Which.
            output: The logits, Tensor [prompts, V], with hidden states beside them if tapped; a
                dual number for a JVP.

        Raises:
            MeasurementError: If the output is no logits.
            TailMismatch: If rows were left out that something needs.
        """
        check_logits(output)
        if self._has_tail and not output.isfinite().all():
            raise TailMismatch("logits are not finite; perhaps for want of rows left out")
        if evaluation.is_jvp:
            self._take_jvp(evaluation, output)
        elif evaluation.is_baseline:
            self._take_baseline(evaluation.batch, output)
        else:
            self._early.append((evaluation, output))
            if evaluation.step in self._differences:
                self._values.setdefault(_pair(evaluation), {})[evaluation.step] = output
        for pair in list(self._values):
            self._extrapolate(pair)
        self._early = [waiting for waiting in self._early if not self._reduce(*waiting)]

    def _take_baseline(self, batch: int, output: Tensor) -> None:
        """Keep it, and hold it against float64's, which an earlier pass may have left."""
        self._baselines[batch] = output
        logits, key = self._parts(output)[0], (batch, self._wanted.directions[0])
        if logits.dtype == torch.float64:
            self._figures.baselines[key] = logits
            return
        exact = self._figures.baselines.get(key)
        if exact is not None:
            departure = (logits.double() - exact).norm(dim=-1) / exact.norm(dim=-1)
            most = _DEPARTURE * max(self._calibration.departure, _LEAST_DEPARTURE)
            if bool((departure > most).any()):
                self._departing.add(batch)

    def _take_jvp(self, evaluation: Evaluation, output: Tensor) -> None:
        primal, tangent = unpack_dual(output)
        if tangent is None:
            tangent = torch.zeros_like(primal)
        pair = _pair(evaluation)
        if evaluation.step is None:
            self._set_derivative(pair, tangent)
            return
        tangents = self._tangents.setdefault(pair, {})
        tangents[evaluation.step] = self._parts(tangent)[0]
        if len(tangents) == 2 and self._wanted.curvature is not None:
            second = second_derivative(tangents, self._wanted.curvature)
            self._figures.second_derivatives[pair] = second
            del self._tangents[pair]

    def _extrapolate(self, pair: Pair) -> None:
        """Take derivatives from differences, once all of them are there."""
        values, baseline = self._values[pair], self._baselines.get(pair[0])
        h = self._wanted.difference
        if baseline is None or h is None or len(values) < len(self._differences):
            return
        self._set_derivative(pair, extrapolate(values, h))
        second = extrapolate_second(values, baseline, h)
        self._figures.second_derivatives[pair] = self._parts(second)[0]
        del self._values[pair]

    def _set_derivative(self, pair: Pair, derivative: Tensor) -> None:
        self._with_derivative.add(pair)
        self._figures.derivatives[pair], *hidden = self._parts(derivative)
        if self._layers is not None:
            self._layers.derivatives[pair] = hidden

    def _reduce(self, evaluation: Evaluation, output: Tensor) -> bool:
        """Reduce what one step gives; False while something is missing."""
        if evaluation.step not in self._wanted.radii:
            return True
        baseline = self._baselines.get(evaluation.batch)
        waits = self._wanted.derivatives and _pair(evaluation) not in self._with_derivative
        if baseline is None or waits:
            return False
        change, *hidden = self._parts(output.double() - baseline.double())
        self._figures.add(evaluation, change, self._parts(baseline)[0])
        if self._layers is not None:
            self._layers.add(evaluation, hidden)
        self._count_flips(evaluation, output)
        if evaluation.batch in self._departing:
            self._figures.add_departure(evaluation)
        return True

    def _count_flips(self, evaluation: Evaluation, output: Tensor) -> None:
        if not self._selects:
            return
        ours = self._selections[Evaluation(evaluation.batch)]
        theirs = self._selections.pop(evaluation)
        real = real_tokens(self._batches[evaluation.batch])
        pairs = [(ours, theirs, 1, real)]
        # What a shared prefix chooses, every prompt would have chosen on its own.
        prefix = self._selections.get(replace(evaluation, batch=PREFIX))
        if prefix is not None:
            pairs.append((self._selections[Evaluation(PREFIX)], prefix, len(output), None))
        count = sum(times * flips(one, other, real) for one, other, times, real in pairs)
        ties = 0
        if output.dtype == torch.float32:
            width = self._calibration.tie
            ties = sum(
                times * (near_ties(one, width, real) + near_ties(other, width, real))
                for one, other, times, real in pairs
            )
        self._figures.add_flips(evaluation, count, ties)

    def _parts(self, output: Tensor) -> list[Tensor]:
        return [output] if self._layers is None else self._layers.taps.split(output)


def _pair(evaluation: Evaluation) -> Pair:
    assert evaluation.direction is not None
    return evaluation.batch, evaluation.direction
