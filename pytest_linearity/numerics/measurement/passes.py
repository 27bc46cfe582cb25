"""One pass over the parameters: which evaluations run together, in one arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from pytest_linearity.errors import LinearityError
from pytest_linearity.numerics.calibration.calibration import Calibration
from pytest_linearity.numerics.calibration.prefix_check import failure, in_use
from pytest_linearity.numerics.directions.directions import Directions
from pytest_linearity.numerics.lockstep.logits import (
    Logits,
    needed_tokens,
    prefix_of,
    real_tokens,
    token_count,
)
from pytest_linearity.numerics.lockstep.tail import Tail, TailMismatch
from pytest_linearity.numerics.lockstep.trunk import TrunkMismatch
from pytest_linearity.numerics.measurement import schedule
from pytest_linearity.numerics.measurement.figures import PairStore
from pytest_linearity.numerics.measurement.jobs import Alone, Engine, Job
from pytest_linearity.numerics.measurement.layers import LayerFigures
from pytest_linearity.numerics.measurement.reduction import Reduction
from pytest_linearity.numerics.measurement.resume import Rounds
from pytest_linearity.numerics.measurement.schedule import (
    Progress,
    Wanted,
    evaluation_bytes,
    evaluations_of,
    grouped,
    portions,
)
from pytest_linearity.numerics.precision import Arithmetic


class Pass:
    """Evaluations in one arithmetic."""

    def __init__(
        self,
        model: nn.Module,
        batches: Sequence[Logits],
        directions: Directions,
        arithmetic: Arithmetic,
        known: Calibration,
        figures: PairStore,
        progress: Progress | None,
        layers: LayerFigures | None = None,
        engine: Engine | None = None,
        journal: Rounds | None = None,
    ) -> None:
        """Nothing runs yet; results go into `figures` and, of hidden states, `layers`."""
        self._model = model
        self._directions = directions
        self._arithmetic = arithmetic
        self._known = known
        self._figures = figures
        self._progress = progress
        self._layers = layers
        self._engine = engine or Alone()
        self._journal = journal
        self.evaluations = 0
        """How many evaluations of one batch each have run."""
        self._budget = schedule.MEMORY_BUDGET // self._engine.members
        self._share_trunk = known.share_trunk
        self._use(batches)

    def _use(self, batches: Sequence[Logits]) -> None:
        """Take these batches, prompts whole where their prefix cannot be shared."""
        self._batches = [in_use(run) for run in batches]
        taps = self._layers.taps if self._layers else None
        self._runs = [taps.tapped(run) for run in self._batches] if taps else self._batches
        self._tails = {
            batch: Tail(needed, self._known.tail)
            for batch, run in enumerate(self._batches)
            if self._known.tail and (needed := needed_tokens(run)) is not None
        }

    def run(self, wanted: Wanted) -> None:
        """Measure."""
        rounds = list(self._rounds(wanted))
        for place, (batches, ks) in enumerate(rounds):
            progress = _Counter(self._progress, self._model, place, len(rounds))
            known = self._journal is not None and self._journal.recall(batches, ks, wanted)
            while not known:
                try:
                    self._run_round(batches, ks, wanted, progress)
                    break
                except Exception as error:
                    if not self._shares_less(error):
                        raise
            if self._journal is not None and not known:
                self._journal.note(batches, ks, wanted)
            progress.finish()

    def _shares_less(self, error: Exception) -> bool:
        """Share less from now on, if that may help against an error.

        What calibration saw on one prompt need not hold for all of them.
        """
        if isinstance(error, (TrunkMismatch, TailMismatch)) and (self._share_trunk or self._tails):
            self._share_trunk = False
            self._tails = {}
            return True
        if isinstance(error, (LinearityError, MemoryError, torch.OutOfMemoryError)):
            return False
        prefix = next(filter(None, map(prefix_of, self._batches)), None)
        if prefix is None:
            return False
        prefix.skipped = failure(error)
        self._use(self._batches)
        return True

    def _run_round(
        self, batches: Sequence[int], ks: Sequence[int], wanted: Wanted, progress: _Counter
    ) -> None:
        h = self._known.step if wanted.derivatives else None
        reduction = partial(
            Reduction,
            self._figures,
            wanted.radii,
            derivatives=wanted.derivatives,
            difference=h,
            curvature=wanted.curvature,
            selects=self._known.selects,
            real=self._real,
            has_tail=bool(self._tails),
            layers=self._layers,
        )
        evaluations = [
            evaluation for batch in batches for evaluation in evaluations_of(batch, ks, wanted, h)
        ]
        self.evaluations += len(evaluations)
        self._engine.run(
            Job(
                self._model,
                self._runs,
                self._directions,
                self._directions.count,
                self._arithmetic,
                share_primals=self._known.share_primals,
                share_trunk=self._share_trunk,
                tails=self._tails,
                evaluations=evaluations,
                sink=reduction,
                served=progress.served,
            )
        )

    def _real(self, batch: int) -> Tensor | None:
        return real_tokens(self._batches[batch])

    def _rounds(self, wanted: Wanted) -> Iterator[tuple[list[int], list[int]]]:
        """Which batches and directions advance together, within the memory budget."""
        per_direction = wanted.per_direction
        if self._journal is None:
            yield from self._rounds_of(list(wanted.directions), per_direction)
            return
        for ks in portions(wanted.directions, per_direction):
            yield from self._rounds_of(ks, per_direction)

    def _rounds_of(
        self, ks: list[int], per_direction: int
    ) -> Iterator[tuple[list[int], list[int]]]:
        sizes = [self._evaluation_bytes(batch, len(ks)) for batch in range(len(self._batches))]
        return grouped(sizes, ks, per_direction, self._budget)

    def _evaluation_bytes(self, batch: int, directions: int) -> int:
        """What one suspended evaluation holds: around the widest layer, a few tensors."""
        tokens = token_count(self._batches[batch])
        if tokens is None:
            # Nothing is known of this batch, so it goes alone.
            return self._budget // (2 + directions * 2)
        return evaluation_bytes(tokens, self._known.widest, self._arithmetic.dtype)


class _Counter:
    """Progress of one round among several: how many of the parameters have been served."""

    def __init__(
        self, progress: Progress | None, model: nn.Module, place: int, rounds: int
    ) -> None:
        self._progress = progress
        self._names = sum(1 for _ in model.parameters())
        self._place = place
        self._rounds = rounds
        self._seen: set[str] = set()

    def served(self, name: str) -> None:
        self._seen.add(name)
        self._tell(len(self._seen))

    def finish(self) -> None:
        """Parameters that no forward used count as served."""
        self._tell(self._names)

    def _tell(self, done: int) -> None:
        if self._progress is not None:
            self._progress(self._place * self._names + done, self._rounds * self._names)
