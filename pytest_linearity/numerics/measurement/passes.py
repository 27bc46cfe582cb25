"""One pass over the parameters: which evaluations run together, in one arithmetic.

A pass takes as many rounds as memory asks for; in a round, every parameter is served once to all
evaluations of some batches along some directions. A round that fails for something that its
evaluations share is run again with less in common, and so are those after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from pytest_linearity.errors import LinearityError, pass_on_foreign
from pytest_linearity.numerics.calibration.calibration import Calibration
from pytest_linearity.numerics.calibration.prefix_check import failure, in_use
from pytest_linearity.numerics.lockstep.logits import (
    Logits,
    needed_tokens,
    prefix_of,
    token_count,
)
from pytest_linearity.numerics.lockstep.state import StateMismatch
from pytest_linearity.numerics.lockstep.tail import Tail, TailMismatch
from pytest_linearity.numerics.lockstep.trunk import TrunkMismatch
from pytest_linearity.numerics.measurement import schedule
from pytest_linearity.numerics.measurement.draws import Draws, check_repeats
from pytest_linearity.numerics.measurement.figures import PairStore
from pytest_linearity.numerics.measurement.jobs import Job
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
    share_of,
)
from pytest_linearity.numerics.measurement.setup import Setup
from pytest_linearity.numerics.precision import Arithmetic


@dataclass(frozen=True)
class Pass:
    """One pass: what it finds out, and where the figures go."""

    setup: Setup
    """What is measured."""
    calibration: Calibration
    """What is known of the model."""
    arithmetic: Arithmetic
    """In which evaluations are computed."""
    wanted: Wanted
    """What is to be found out."""
    figures: PairStore
    """Takes the figures of the logits, and gives derivatives that an earlier pass has taken."""
    layers: LayerFigures | None
    """The same for hidden states; None if nobody asks for them."""

    def run(self, progress: Progress | None) -> int:
        """Measure, round by round; rounds that are journaled are not measured again.

        Args:
            progress: Told (done, total) as parameters are served.

        Returns:
            How many evaluations of one batch each have run.
        """
        journal = self._journal()
        common = _Common(self.setup, self.calibration, self.layers)
        evaluations = 0
        rounds = list(self._rounds(common.batches))
        for place, (batches, ks) in enumerate(rounds):
            counter = _Counter(share_of(progress, place, len(rounds)), self.setup.model)
            if journal is None or not journal.recall(batches, ks, self.wanted):
                evaluations += self.run_round(batches, ks, common, counter.served)
                if journal is not None:
                    journal.note(batches, ks, self.wanted)
            counter.finish()
        return evaluations

    def run_round(
        self,
        batches: Sequence[int],
        ks: Sequence[int],
        common: _Common,
        served: Callable[[str], None],
    ) -> int:
        """Run the evaluations of some batches along some directions, sharing less if need be.

        Returns:
            How many evaluations have run, those of failed attempts included.

        Raises:
            MeasurementError: If the forward is not deterministic on one of the batches.
        """
        if common.batches_apart and len(batches) > 1:
            return sum(self.run_round([batch], ks, common, served) for batch in batches)
        evaluations = [e for batch in batches for e in evaluations_of(batch, ks, self.wanted)]
        attempts = 0
        while True:
            attempts += 1
            job = Job(
                self.setup.model,
                common.runs,
                self.setup.directions,
                self.setup.directions.count,
                self.arithmetic,
                share_primals=self.calibration.share_primals,
                share_trunk=common.trunk,
                tails=common.tails,
                interleaved=self.calibration.not_interleaved is None,
                evaluations=evaluations,
                sink=partial(
                    Reduction,
                    self.wanted,
                    self.figures,
                    self.layers,
                    common.batches,
                    calibration=self.calibration,
                    has_tail=bool(common.tails),
                ),
                served=served,
            )
            draws = Draws(self.setup.device)
            try:
                self.setup.engine.run(job)
            except StateMismatch:
                common.batches_apart = True
                again = self.run_round(batches, ks, common, served)
                return attempts * len(evaluations) + again
            except Exception as error:
                pass_on_foreign(error)
                if not common.shrink(error):
                    raise
            else:
                if draws.happened():
                    self._check_repeats(batches, common)
                return attempts * len(evaluations)

    def _check_repeats(self, batches: Sequence[int], common: _Common) -> None:
        setup, unchecked = self.setup, [b for b in batches if b not in common.repeated]
        check_repeats(setup.model, common.batches, unchecked, setup.directions, setup.device)
        common.repeated.update(unchecked)

    def _journal(self) -> Rounds | None:
        if self.setup.journal is None:
            return None
        dtype, device = self.arithmetic.dtype, self.arithmetic.device
        return Rounds(self.setup.journal, self.figures, self.layers, dtype, device)

    def _rounds(self, batches: Sequence[Logits]) -> Iterator[tuple[list[int], list[int]]]:
        """Which batches and directions advance together, within the memory budget."""
        budget = schedule.MEMORY_BUDGET // self.setup.engine.members
        per_direction = self.wanted.per_direction
        directions = [list(self.wanted.directions)]
        if self.setup.journal is not None:
            directions = list(portions(self.wanted.directions, per_direction))
        for ks in directions:
            sizes = [self._evaluation_bytes(run, len(ks), budget) for run in batches]
            yield from grouped(sizes, ks, per_direction, budget)

    def _evaluation_bytes(self, run: Logits, directions: int, budget: int) -> int:
        """What one suspended evaluation holds: around the widest layer, a few tensors."""
        tokens = token_count(run)
        if tokens is None:
            # Nothing is known of this batch, so it goes alone.
            return budget // (2 + directions * 2)
        return evaluation_bytes(tokens, self.calibration.widest, self.arithmetic.dtype)


class _Common:
    """What the evaluations of a pass have in common.

    What calibration saw on one prompt need not hold for all of them: this only ever shrinks.
    """

    def __init__(self, setup: Setup, calibration: Calibration, layers: LayerFigures | None) -> None:
        """As much as calibration allows."""
        self._taps = layers.taps if layers else None
        self._sites = calibration.tail
        self.batches_apart = calibration.changes_state
        """Whether batches run one after another, as their forwards change the model's state."""
        self.repeated: set[int] = set()
        """Batches whose baseline has been found to be the same when it is taken again."""
        self.trunk = calibration.share_trunk
        """Whether what runs before the first perturbed parameter runs once."""
        self.batches: Sequence[Logits] = ()
        """The batches, prompts whole where their prefix cannot be shared."""
        self.runs: Sequence[Logits] = ()
        """The same, with hidden states beside the logits if they are asked for."""
        self.tails: Mapping[int, Tail] = {}
        """By batch, the rows that linear layers may leave out."""
        self._use(setup.batches)

    def shrink(self, error: Exception) -> bool:
        """Have less in common from now on; False where that cannot help against an error."""
        if isinstance(error, (TrunkMismatch, TailMismatch)) and (self.trunk or self.tails):
            self.trunk = False
            self._sites = frozenset()
            self._use(self.batches)
            return True
        if isinstance(error, (LinearityError, MemoryError, torch.OutOfMemoryError)):
            return False
        prefix = next(filter(None, map(prefix_of, self.batches)), None)
        if prefix is None:
            return False
        prefix.skipped = failure(error)
        self._use(self.batches)
        return True

    def _use(self, batches: Sequence[Logits]) -> None:
        self.batches = [in_use(run) for run in batches]
        self.runs = [self._taps.tapped(run) for run in self.batches] if self._taps else self.batches
        self.tails = {
            batch: Tail(needed, self._sites)
            for batch, run in enumerate(self.batches)
            if self._sites and (needed := needed_tokens(run)) is not None
        }


class _Counter:
    """Progress of one round: how many of the parameters have been served."""

    def __init__(self, progress: Progress | None, model: nn.Module) -> None:
        self._progress = progress
        self._names = sum(1 for _ in model.parameters())
        self._seen: set[str] = set()

    def served(self, name: str) -> None:
        self._seen.add(name)
        self._tell(len(self._seen))

    def finish(self) -> None:
        """Parameters that no forward used count as served."""
        self._tell(self._names)

    def _tell(self, done: int) -> None:
        if self._progress is not None:
            self._progress(done, self._names)
