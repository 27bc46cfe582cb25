"""One pass over the parameters: evaluations in one arithmetic, reduced to figures as they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pytest_linearity.calibration import Calibration
from pytest_linearity.differences import extrapolate, steps
from pytest_linearity.directions import Directions
from pytest_linearity.lockstep import Evaluation, Lockstep
from pytest_linearity.lockstep.dual import unpack_dual
from pytest_linearity.lockstep.tail import Tail, TailMismatch
from pytest_linearity.lockstep.trunk import TrunkMismatch
from pytest_linearity.metrics import cosine_similarity, relative_error
from pytest_linearity.precision import Arithmetic
from pytest_linearity.selections import Selections, flips

Logits: TypeAlias = Callable[[], Tensor]
"""Runs the model on one batch and returns its last-token logits, Tensor [prompts, V]. It may have
an attribute `tokens`, how many tokens the batch has, padding included, by which memory is planned;
`real`, a bool Tensor [tokens] that is False at padding; and `needed`, a bool Tensor [tokens] that
is True at the tokens whose logits it returns."""

Progress: TypeAlias = Callable[[int, int], None]
"""Told (done, total)."""

MEMORY_BUDGET = 4 << 30
"""Bytes that the activations of evaluations under way may take together."""


class Figures:
    """The figures of all pairs, as they come in."""

    def __init__(self, batches: int, directions: int) -> None:
        """Room for so many batches and directions."""
        self._batches = batches
        self._directions = directions
        self._values: dict[tuple[str, float, int, int], Tensor] = {}
        self.derivatives: dict[tuple[int, int], Tensor] = {}
        """Jδ by (batch, direction), Tensor [prompts, V]."""
        self._flips: dict[tuple[float, int, int], int] = {}

    def add(self, evaluation: Evaluation, change: Tensor) -> None:
        """Take in one true change, Tensor [prompts, V]; its derivative must be known."""
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

    def add_flips(self, evaluation: Evaluation, count: int) -> None:
        """Take in how many discrete choices of one evaluation differ from its baseline's."""
        assert evaluation.direction is not None
        assert evaluation.step is not None
        self._flips[evaluation.step, evaluation.direction, evaluation.batch] = count

    def flips(self, radius: float) -> int:
        """How many discrete choices changed at one radius, over all pairs."""
        return sum(count for (at, _, _), count in self._flips.items() if at == radius)

    def stack(self, name: str, radius: float) -> Tensor:
        """One figure at one radius, float64 Tensor [directions, prompts]."""
        return torch.stack(
            [
                torch.cat([self._values[name, radius, k, b] for b in range(self._batches)])
                for k in range(self._directions)
            ]
        )


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
    ) -> None:
        """Nothing runs yet; results go into `figures`."""
        self._model = model
        self._batches = batches
        self._directions = directions
        self._arithmetic = arithmetic
        self._known = known
        self._figures = figures
        self._progress = progress
        self._share_trunk = known.share_trunk
        self._tails = {
            batch: Tail(run.needed, known.tail)
            for batch, run in enumerate(batches)
            if known.tail and hasattr(run, "needed")
        }

    def run(self, radii: Sequence[float], *, derivatives: bool) -> None:
        """Measure the true change at some radii.

        Args:
            radii: The radii.
            derivatives: Whether to take the derivatives along; without, they must be known.
        """
        rounds = list(self._rounds(len(radii) + 1))
        for place, (batches, ks) in enumerate(rounds):
            progress = _Counter(self._progress, self._model, place, len(rounds))
            try:
                self._run_round(batches, ks, radii, derivatives, progress)
            except (TrunkMismatch, TailMismatch):
                # What calibration saw on one prompt does not hold for all of them.
                self._share_trunk = False
                self._tails = {}
                self._run_round(batches, ks, radii, derivatives, progress)
            progress.finish()

    def _run_round(
        self,
        batches: Sequence[int],
        ks: Sequence[int],
        radii: Sequence[float],
        derivatives: bool,
        progress: _Counter,
    ) -> None:
        step = self._known.step if derivatives else None
        results = _Results(self._figures, self._known, self._real, bool(self._tails))
        results.expect(radii, derivatives)
        evaluations = [
            evaluation
            for batch in batches
            for evaluation in _evaluations(batch, ks, radii, derivatives, step)
        ]
        Lockstep(
            self._model,
            self._batches,
            self._directions,
            self._arithmetic,
            share_primals=self._known.share_primals,
            share_trunk=self._share_trunk,
            tails=self._tails,
        ).run(evaluations, results.take, modes=results.modes, served=progress.served)

    def _real(self, batch: int) -> Tensor | None:
        return getattr(self._batches[batch], "real", None)

    def _rounds(self, per_direction: int) -> Iterator[tuple[list[int], list[int]]]:
        """Which batches and directions advance together, within the memory budget."""
        ks = list(range(self._directions.count))
        group: list[int] = []
        used = 0
        for batch in range(len(self._batches)):
            size = self._evaluation_bytes(batch)
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

    def _evaluation_bytes(self, batch: int) -> int:
        """What one suspended evaluation holds: around the widest layer, a few tensors."""
        tokens = getattr(self._batches[batch], "tokens", None)
        if tokens is None:
            # Nothing is known of this batch, so it goes alone.
            return MEMORY_BUDGET // (2 + self._directions.count * 2)
        return int(2 * tokens * self._known.widest * self._arithmetic.dtype.itemsize)


class _Results:
    """What the evaluations of one round give, reduced as soon as all it takes is there."""

    def __init__(
        self,
        figures: Figures,
        known: Calibration,
        real: Callable[[int], Tensor | None],
        has_tail: bool,
    ) -> None:
        self._figures = figures
        self._step = known.step
        self._selects = known.selects
        self._real = real
        self._has_tail = has_tail
        self._baselines: dict[int, Tensor] = {}
        self._values: dict[tuple[int, int], dict[float, Tensor]] = {}
        self._early: list[tuple[Evaluation, Tensor]] = []
        self._selections: dict[Evaluation, Selections] = {}
        self._differences: frozenset[float] = frozenset()
        self._radii: frozenset[float] = frozenset()

    def expect(self, radii: Sequence[float], differences: bool) -> None:
        """Say which steps are radii, and whether derivatives come from differences."""
        self._radii = frozenset(radii)
        if differences and self._step is not None:
            self._differences = frozenset(steps(self._step))

    def modes(self, evaluation: Evaluation) -> list[TorchFunctionMode]:
        """The mode that notes an evaluation's discrete choices, where the model makes any."""
        if not self._selects or evaluation.is_jvp:
            return []
        self._selections[evaluation] = Selections()
        return [self._selections[evaluation]]

    def take(self, evaluation: Evaluation, logits: Tensor) -> None:
        """Take in an evaluation that has ended."""
        batch, k, step = evaluation.batch, evaluation.direction, evaluation.step
        if self._has_tail and not logits.isfinite().all():
            raise TailMismatch("logits are not finite; perhaps for want of rows left out")
        if k is None:
            self._baselines[batch] = logits
        elif step is None:
            primal, tangent = unpack_dual(logits)
            derivative = torch.zeros_like(primal) if tangent is None else tangent
            self._figures.derivatives[batch, k] = derivative
        else:
            self._early.append((evaluation, logits))
            if step in self._differences:
                self._difference(batch, k, step, logits)
        self._early = [waiting for waiting in self._early if not self._reduce(*waiting)]

    def _difference(self, batch: int, k: int, step: float, logits: Tensor) -> None:
        values = self._values.setdefault((batch, k), {})
        values[step] = logits
        if len(values) == len(self._differences) and self._step is not None:
            self._figures.derivatives[batch, k] = extrapolate(values, self._step)[0]
            del self._values[batch, k]

    def _reduce(self, evaluation: Evaluation, logits: Tensor) -> bool:
        """Reduce a true change to its figures; False while something is missing."""
        batch, k, step = evaluation.batch, evaluation.direction, evaluation.step
        assert k is not None
        assert step is not None
        if step not in self._radii:
            return True
        baseline = self._baselines.get(batch)
        if baseline is None or (batch, k) not in self._figures.derivatives:
            return False
        self._figures.add(evaluation, logits.double() - baseline.double())
        if self._selects:
            ours = self._selections[Evaluation(batch)]
            changed = flips(ours, self._selections.pop(evaluation), self._real(batch))
            self._figures.add_flips(evaluation, changed)
        return True


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
    batch: int, ks: Sequence[int], radii: Sequence[float], derivatives: bool, h: float | None
) -> list[Evaluation]:
    """One baseline, and for each direction its derivative and its steps."""
    at = sorted({*radii, *(steps(h) if derivatives and h is not None else ())})
    jvps: list[float | None] = [None] if derivatives and h is None else []
    return [Evaluation(batch), *(Evaluation(batch, k, s) for k in ks for s in (*jvps, *at))]
