"""One pass over the parameters: which evaluations run together, in one arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn

from pytest_linearity.calibration import Calibration
from pytest_linearity.differences import steps
from pytest_linearity.directions import Directions
from pytest_linearity.engine import Alone, Engine, Job
from pytest_linearity.errors import LinearityError
from pytest_linearity.figures import Figures
from pytest_linearity.journal.rounds import Rounds, portions
from pytest_linearity.layers import LayerFigures
from pytest_linearity.lockstep import Evaluation
from pytest_linearity.lockstep.prefix import prefix_of
from pytest_linearity.lockstep.tail import Tail, TailMismatch
from pytest_linearity.lockstep.trunk import TrunkMismatch
from pytest_linearity.precision import Arithmetic
from pytest_linearity.prefix_check import failure, in_use
from pytest_linearity.reduction import Reduction

Logits: TypeAlias = Callable[[], Tensor]
"""Runs the model on one batch and returns its last-token logits, Tensor [prompts, V]. It may have
an attribute `tokens`, how many tokens the batch has, padding included, by which memory is planned;
`real`, a bool Tensor [tokens] that is False at padding; `needed`, a bool Tensor [tokens] that
is True at the tokens whose logits it returns; and, where a prefix that all batches share is left to
an evaluation of its own, that `prefix` (see `lockstep.prefix`) and the call without, `plain`."""

Progress: TypeAlias = Callable[[int, int], None]
"""Told (done, total)."""

MEMORY_BUDGET = 4 << 30
"""Bytes that the activations of evaluations under way may take together."""


@dataclass(frozen=True)
class Wanted:
    """What a pass is to find out."""

    directions: tuple[int, ...]
    """Along which directions, ascending."""
    radii: tuple[float, ...]
    """Where the true change is measured."""
    derivatives: bool
    """Whether Jδ is; without, it must be known."""
    curvature: float | None = None
    """The step at which f''[δ, δ] is taken from two JVPs; None for none."""

    @property
    def per_direction(self) -> int:
        """Evaluations per direction and batch, but for those of central differences."""
        return len(self.radii) + self.derivatives + (2 if self.curvature is not None else 0)


class Pass:
    """Evaluations in one arithmetic."""

    def __init__(
        self,
        model: nn.Module,
        batches: Sequence[Logits],
        directions: Directions,
        arithmetic: Arithmetic,
        known: Calibration,
        figures: Figures,
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
        self._budget = MEMORY_BUDGET // self._engine.members
        self._share_trunk = known.share_trunk
        self._use(batches)

    def _use(self, batches: Sequence[Logits]) -> None:
        """Take these batches, prompts whole where their prefix cannot be shared."""
        self._batches = [in_use(run) for run in batches]
        taps = self._layers.taps if self._layers else None
        self._runs = [taps.tapped(run) for run in self._batches] if taps else self._batches
        self._tails = {
            batch: Tail(run.needed, self._known.tail)
            for batch, run in enumerate(self._batches)
            if self._known.tail and hasattr(run, "needed")
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
            evaluation for batch in batches for evaluation in _evaluations(batch, ks, wanted, h)
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
        return getattr(self._batches[batch], "real", None)

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
        tokens = getattr(self._batches[batch], "tokens", None)
        if not isinstance(tokens, int):
            # Nothing is known of this batch, so it goes alone.
            return self._budget // (2 + directions * 2)
        return evaluation_bytes(tokens, self._known.widest, self._arithmetic.dtype)


def evaluation_bytes(tokens: int, widest: int, dtype: torch.dtype) -> int:
    """Bytes that memory is planned by for one suspended evaluation of a batch.

    Args:
        tokens: Tokens of the batch, padding included.
        widest: Inputs plus outputs of the widest linear layer, in features.
        dtype: Of the arithmetic.
    """
    return int(2 * tokens * widest * dtype.itemsize)


def grouped(
    sizes: Sequence[int], directions: Sequence[int], per_direction: int, budget: int
) -> Iterator[tuple[list[int], list[int]]]:
    """Which batches and directions advance together, within a budget of memory.

    Args:
        sizes: Bytes of one evaluation, for each batch.
        directions: All directions.
        per_direction: Evaluations per direction.
        budget: In bytes.

    Yields:
        Indices of batches, and the directions that are measured on them.
    """
    ks = list(directions)
    group: list[int] = []
    used = 0
    for batch, size in enumerate(sizes):
        need = size * (1 + len(ks) * per_direction)
        if group and used + need > budget:
            yield group, ks
            group, used = [], 0
        if need > budget:
            at_once = max(1, budget // max(1, size * per_direction))
            for start in range(0, len(ks), at_once):
                yield [batch], ks[start : start + at_once]
            continue
        group.append(batch)
        used += need
    if group:
        yield group, ks


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


def _evaluations(
    batch: int, ks: Sequence[int], wanted: Wanted, h: float | None
) -> Iterator[Evaluation]:
    """One baseline, and for each direction its derivatives and its steps."""
    at = sorted({*wanted.radii, *(steps(h) if h is not None else ())})
    yield Evaluation(batch)
    for k in ks:
        if wanted.derivatives and h is None:
            yield Evaluation(batch, k)
        if wanted.curvature is not None:
            yield from (Evaluation(batch, k, s * wanted.curvature, dual=True) for s in (1, -1))
        yield from (Evaluation(batch, k, step) for step in at)
