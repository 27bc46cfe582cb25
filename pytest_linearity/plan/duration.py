"""How long a stage takes on a machine whose rates are known.

The work of the linear layers (see `effort`) at the rates of products, of drawing and of reading;
and for every evaluation the rest of its forward, the hand-over of each layer's product, and the
figures that its logits are reduced to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2
from typing import TYPE_CHECKING

import torch

from pytest_linearity.numerics.calibration.trial import TAIL_CANDIDATES
from pytest_linearity.numerics.lockstep.workers import largest_slice
from pytest_linearity.plan.effort import LayerWork, work_of
from pytest_linearity.plan.forward import TOKENS, Forward
from pytest_linearity.plan.workload import BatchSize

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from pytest_linearity.plan.machine import Machine
    from pytest_linearity.plan.stages import Stage
    from pytest_linearity.plan.workload import Workload

_MOST_TOKENS = 256
"""Of a batch that a forward is tried on; more take as much longer as they are more."""


@dataclass(frozen=True)
class Clock:
    """Adds up the time of what is planned."""

    machine: Machine
    """Its rates."""
    forward: Forward
    """The model's linear layers."""
    samples: Mapping[int, nn.Module]
    """Skeletons of the model by number of blocks: one, or two that tell what a block adds."""
    blocks: int
    """How many blocks the model has."""
    stored: torch.dtype
    """Of the checkpoint."""
    scopes: Sequence[frozenset[str]]
    """The parameters of each scope."""

    def stage(self, stage: Stage, workload: Workload) -> float:
        """Seconds of one stage."""
        return sum(
            self._round(stage, workload, batches, directions)
            for batches, directions in stage.rounds(workload, self.forward.widest())
        )

    def calibration(self, dtype: torch.dtype, *, tails: bool) -> float:
        """Seconds of the trial in one arithmetic: one prompt, one direction, a few evaluations.

        As `calibration.trial` has them: a baseline, a step and a JVP; in float64 another baseline
        and steps on both sides of θ*, which check the others; and a baseline for each candidate.
        The prompt is so short that the products are stacked (see `plan.effort`): with W the rows
        of all of these, and with δ those of the steps and the JVP.

        Args:
            dtype: The arithmetic.
            tails: Whether candidates for the tail are tried.
        """
        exact = dtype == torch.float64
        plain = 2 + 3 * exact + TAIL_CANDIDATES * tails
        along = 2 + 2 * exact
        seconds = plain * self._rest(dtype, 1, TOKENS, dual=False)
        seconds += self._rest(dtype, 1, TOKENS, dual=True)
        seconds += (plain + 1) * len(self.forward.linears) * self.machine.serving()
        entries = largest_slice(self.machine.device, dtype)
        for use in self.forward.linears:
            moved = any(use.name in scope for scope in self.scopes)
            rows = round(TOKENS * max(use.per_token, 1 / TOKENS))
            lines = rows * (plain + 1) + moved * rows * along
            seconds += self._read(use.inputs * use.outputs, dtype, entries)
            seconds += self._products(
                dtype, rows * (plain + 1), use.inputs, use.outputs, lines, entries
            )
            if moved:
                seconds += self._drawn(1, use.inputs, use.inputs * use.outputs, dtype, entries)
        return seconds

    def check(self) -> float:
        """Seconds of finding out whether the architecture looks at padding."""
        seconds = 2 * self._rest(torch.float32, 1, TOKENS, dual=False)
        entries = largest_slice(self.machine.device, torch.float32)
        for use in self.forward.linears:
            seconds += self._read(use.inputs * use.outputs, torch.float32, entries)
            rows = 2 * TOKENS
            seconds += self._products(torch.float32, rows, use.inputs, use.outputs, rows, entries)
        return seconds

    def _round(
        self, stage: Stage, workload: Workload, batches: Sequence[BatchSize], directions: int
    ) -> float:
        entries = largest_slice(self.machine.device, stage.dtype)
        seconds = 0.0
        prefix = workload.prefix
        for work in work_of(stage, self.forward, self.scopes, batches, directions, prefix):
            seconds += self._layer(stage, work, entries)
        beyond = self._beyond()
        plain, dual = 1 + directions * stage.radii * beyond, directions * stage.duals * beyond
        forwards = [*batches, *([BatchSize(1, prefix)] if prefix else [])]
        served = len(forwards) * len(self.forward.linears) * (plain + dual)
        seconds += served * self.machine.serving()
        for batch in forwards:
            seconds += plain * self._batch(stage.dtype, batch, dual=False)
            if dual:
                seconds += dual * self._batch(stage.dtype, batch, dual=True)
        for batch in batches:
            vocabulary = self.forward.linears[-1].outputs
            seconds += directions * stage.radii * self.machine.figures(batch.prompts, vocabulary)
        return seconds

    def _layer(self, stage: Stage, work: LayerWork, entries: int) -> float:
        use, dtype = work.use, stage.dtype
        seconds = self._read(work.entries, dtype, entries)
        seconds += self._products(
            dtype, work.rows, use.inputs, use.outputs, work.rows * work.products, entries
        )
        if work.drawn:
            seconds += self._drawn(work.drawn, use.inputs, work.entries, dtype, entries)
        if work.formed:
            size = min(entries, work.entries)
            seconds += work.formed * work.entries / self.machine.forming(dtype, _rounded(size))
        return seconds

    def _read(self, entries: int, dtype: torch.dtype, slice_of: int) -> float:
        rate = self.machine.widening(self.stored, dtype, _rounded(min(slice_of, entries)))
        return entries / rate

    def _products(
        self, dtype: torch.dtype, rows: int, inputs: int, outputs: int, lines: float, entries: int
    ) -> float:
        """Seconds of so many lines of x with a matrix, in products of so many rows."""
        rate = self.machine.products(dtype, _rounded(rows), inputs, outputs, entries)
        return 2 * lines * inputs * outputs / rate

    def _drawn(
        self, directions: int, width: int, entries: int, dtype: torch.dtype, slice_of: int
    ) -> float:
        size = _rounded(min(slice_of, entries))
        seconds = directions * entries / self.machine.drawing(directions, width, size)
        if dtype != torch.float32:
            seconds += directions * entries / self.machine.widening(torch.float32, dtype, size)
        return seconds

    def _beyond(self) -> float:
        """Which part of the forward comes after the trunk, in the mean of the scopes."""
        count = max(1, len(self.forward.linears))
        trunks = [self.forward.trunk(scope) / count for scope in self.scopes]
        return 1 - sum(trunks) / len(trunks)

    def _batch(self, dtype: torch.dtype, batch: BatchSize, *, dual: bool) -> float:
        """Seconds of one forward of a batch, products left out."""
        length = min(batch.length, _MOST_TOKENS)
        prompts = max(1, min(batch.prompts, _MOST_TOKENS // length))
        scale = batch.tokens / (prompts * length)
        return scale * self._rest(dtype, prompts, length, dual=dual)

    def _rest(self, dtype: torch.dtype, prompts: int, length: int, *, dual: bool) -> float:
        by_blocks = {
            count: self.machine.forward(model, dtype, prompts, length, dual=dual)
            for count, model in self.samples.items()
        }
        (least, seconds), *more = sorted(by_blocks.items())
        if not more:
            return seconds
        ((_, longer),) = more
        return seconds + (self.blocks - least) * max(0.0, longer - seconds)


def _rounded(number: float) -> int:
    """A power of two, so that rates of like sizes are measured once."""
    return int(2 ** round(log2(max(1.0, number))))
