"""One pass over the parameters: which evaluations run together, in one arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor, nn

from pytest_linearity.calibration import Calibration
from pytest_linearity.differences import steps
from pytest_linearity.directions import Directions
from pytest_linearity.figures import Figures
from pytest_linearity.layers import LayerFigures
from pytest_linearity.lockstep import Evaluation, Lockstep
from pytest_linearity.lockstep.tail import Tail, TailMismatch
from pytest_linearity.lockstep.trunk import TrunkMismatch
from pytest_linearity.precision import Arithmetic
from pytest_linearity.reduction import Reduction

Logits: TypeAlias = Callable[[], Tensor]
"""Runs the model on one batch and returns its last-token logits, Tensor [prompts, V]. It may have
an attribute `tokens`, how many tokens the batch has, padding included, by which memory is planned;
`real`, a bool Tensor [tokens] that is False at padding; and `needed`, a bool Tensor [tokens] that
is True at the tokens whose logits it returns."""

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
    ) -> None:
        """Nothing runs yet; results go into `figures` and, of hidden states, `layers`."""
        self._model = model
        self._batches = batches
        self._directions = directions
        self._arithmetic = arithmetic
        self._known = known
        self._figures = figures
        self._progress = progress
        self._layers = layers
        self._runs = [layers.taps.tapped(run) for run in batches] if layers else batches
        self._share_trunk = known.share_trunk
        self._tails = {
            batch: Tail(run.needed, known.tail)
            for batch, run in enumerate(batches)
            if known.tail and hasattr(run, "needed")
        }

    def run(self, wanted: Wanted) -> None:
        """Measure."""
        rounds = list(self._rounds(wanted))
        for place, (batches, ks) in enumerate(rounds):
            progress = _Counter(self._progress, self._model, place, len(rounds))
            try:
                self._run_round(batches, ks, wanted, progress)
            except (TrunkMismatch, TailMismatch):
                # What calibration saw on one prompt does not hold for all of them.
                self._share_trunk = False
                self._tails = {}
                self._run_round(batches, ks, wanted, progress)
            progress.finish()

    def _run_round(
        self, batches: Sequence[int], ks: Sequence[int], wanted: Wanted, progress: _Counter
    ) -> None:
        h = self._known.step if wanted.derivatives else None
        reduction = Reduction(
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
        Lockstep(
            self._model,
            self._runs,
            self._directions,
            self._arithmetic,
            share_primals=self._known.share_primals,
            share_trunk=self._share_trunk,
            tails=self._tails,
        ).run(evaluations, reduction.take, modes=reduction.modes, served=progress.served)

    def _real(self, batch: int) -> Tensor | None:
        return getattr(self._batches[batch], "real", None)

    def _rounds(self, wanted: Wanted) -> Iterator[tuple[list[int], list[int]]]:
        """Which batches and directions advance together, within the memory budget."""
        ks, per_direction = list(wanted.directions), wanted.per_direction
        group: list[int] = []
        used = 0
        for batch in range(len(self._batches)):
            size = self._evaluation_bytes(batch, len(ks))
            need = size * (1 + len(ks) * per_direction)
            if group and used + need > MEMORY_BUDGET:
                yield group, ks
                group, used = [], 0
            if need > MEMORY_BUDGET:
                at_once = max(1, MEMORY_BUDGET // max(1, size * per_direction))
                for start in range(0, len(ks), at_once):
                    yield [batch], ks[start : start + at_once]
                continue
            group.append(batch)
            used += need
        if group:
            yield group, ks

    def _evaluation_bytes(self, batch: int, directions: int) -> int:
        """What one suspended evaluation holds: around the widest layer, a few tensors."""
        tokens = getattr(self._batches[batch], "tokens", None)
        if not isinstance(tokens, int):
            # Nothing is known of this batch, so it goes alone.
            return MEMORY_BUDGET // (2 + directions * 2)
        return int(2 * tokens * self._known.widest * self._arithmetic.dtype.itemsize)


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
