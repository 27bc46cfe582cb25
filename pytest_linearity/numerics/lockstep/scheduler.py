"""Which evaluations run when: all of them together, the one furthest behind first.

A batch's baseline starts at once and records its trunk, what runs before the first perturbed
parameter; the batch's other evaluations start when the trunk that they replay is complete. From
there on each runs until it needs a parameter, and waits. Whoever is furthest behind is served, with
all who wait for the same rows, until nobody waits any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

from pytest_linearity.numerics.directions.source import DirectionSource
from pytest_linearity.numerics.lockstep.evaluation import Coroutine, Evaluation
from pytest_linearity.numerics.lockstep.logits import Logits, prefix_of
from pytest_linearity.numerics.lockstep.order import order_of
from pytest_linearity.numerics.lockstep.prefix import SharedPrefix
from pytest_linearity.numerics.lockstep.rules import DualRules
from pytest_linearity.numerics.lockstep.served import serving
from pytest_linearity.numerics.lockstep.sources import prefetch_for
from pytest_linearity.numerics.lockstep.state import state_kept
from pytest_linearity.numerics.lockstep.supply import Supply
from pytest_linearity.numerics.lockstep.tail import Tail
from pytest_linearity.numerics.lockstep.trunk import (
    RecordTrunk,
    ReplayTrunk,
    Trunk,
    TrunkMismatch,
)
from pytest_linearity.numerics.precision import Arithmetic

Finished = Callable[[Evaluation, Tensor], None]
Modes = Callable[[Evaluation], list[TorchFunctionMode]]


class Lockstep:
    """Runs evaluations of one model together, in one arithmetic, on one device."""

    def __init__(
        self,
        model: nn.Module,
        logits: Sequence[Logits],
        directions: DirectionSource,
        arithmetic: Arithmetic,
        *,
        share_primals: bool = True,
        share_trunk: bool = True,
        tails: Mapping[int, Tail] | None = None,
        interleaved: bool = True,
    ) -> None:
        """An engine for one model, to run evaluations as often as need be.

        Args:
            model: Any module.
            logits: For each batch the call that runs the model on it; the prefix of those that
                share one must be the same for all.
            directions: What `Evaluation.direction` counts.
            arithmetic: In which dtype and where.
            share_primals: See `Supply`.
            share_trunk: Whether what runs before the first perturbed parameter runs once.
            tails: By batch, what linear layers may leave out.
            interleaved: Whether evaluations may advance together; otherwise each runs alone, from
                the state that the model is in, which a forward that keeps some needs.
        """
        self._model = model
        self._logits = logits
        self.directions = directions
        self._arithmetic = arithmetic
        # Looked up now: while parameters are served they all have the arithmetic's dtype.
        self._uniform = arithmetic.modes(model)
        self._share_primals = share_primals
        self.share_trunk = share_trunk
        self._tails = tails
        self.interleaved = interleaved
        self.changed: frozenset[str] = frozenset()
        """Names of attributes and buffers that forwards of the last run have changed."""
        self.asked: frozenset[str] = frozenset()
        """Canonical names of the parameters that they have asked for."""
        self._prefixes = [prefix_of(run) for run in logits]
        self._prefix: SharedPrefix | None = next(filter(None, self._prefixes), None)

    def run(
        self,
        evaluations: Sequence[Evaluation],
        finished: Finished,
        *,
        modes: Modes = lambda _: [],
        served: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Run evaluations to their end.

        The model is left as it was, also when anything is raised; every forward is then unwound.

        Args:
            evaluations: What to run; those of a batch share the trunk of its baseline, which must
                be among them.
            finished: Told each evaluation and its logits, Tensor [prompts, V], a dual number for a
                JVP. Baselines come first and JVPs before the steps of their direction, as long as
                the model's forward reads its parameters in the same order everywhere.
            modes: Further torch function modes for an evaluation, outermost first.
            served: Told the name of each parameter when it has been served.

        Raises:
            TrunkMismatch: If evaluations share a trunk and cannot; run without, then.
            PrefixMismatch: If prompts share a prefix and cannot; run them whole, then.
            BaseException: Whatever a forward raises.
        """
        self.changed = self.asked = frozenset()
        if self.interleaved:
            self._run(evaluations, finished, modes, served)
            return
        names = [name for name, _ in self._model.named_parameters()]
        done = 0
        for place, evaluation in enumerate(evaluations, 1):
            self._run([evaluation], finished, modes, lambda _: None)
            # A parameter that has been served once has not been served to all.
            share = len(names) * place // len(evaluations)
            for name in names[done:share]:
                served(name)
            done = share

    def _run(
        self,
        evaluations: Sequence[Evaluation],
        finished: Finished,
        modes: Modes,
        served: Callable[[str], None],
    ) -> None:
        """Run evaluations that advance together, and leave the model as it was."""
        arithmetic = self._arithmetic
        tangents = any(evaluation.is_jvp for evaluation in evaluations)
        level: AbstractContextManager[object] = (
            forward_ad.dual_level() if tangents else nullcontext()
        )
        with (
            torch.no_grad(),
            arithmetic.settings(),
            level,
            serving(
                self._model, arithmetic.dtype, arithmetic.device, arithmetic.buffer_copies()
            ) as parameters,
            state_kept(self._model) as state,
            closing(prefetch_for(parameters, arithmetic.device)) as prefetch,
            order_of(self._model).learned() as order,
        ):
            supply = Supply(
                parameters,
                self.directions,
                arithmetic.dtype,
                arithmetic.device,
                self._share_primals,
                self._tails,
                prefetch=prefetch,
                order=order,
            )
            round_ = _Round(self, [*self._begin_prefix(evaluations), *evaluations], supply, modes)
            try:
                round_.advance(finished, served)
            finally:
                round_.end()
                self.changed |= frozenset(state.changed())
                self.asked |= round_.asked
                if self._prefix is not None:
                    self._prefix.end()

    def coroutine(self, evaluation: Evaluation, modes: list[TorchFunctionMode]) -> Coroutine:
        """An evaluation, ready to run with these modes inside the arithmetic."""
        shared = self._prefix if evaluation.is_prefix else None
        run = shared or self._logits[evaluation.batch]
        # Called last, when all others have had their say about the arguments.
        rules: list[TorchFunctionMode] = [DualRules()] if evaluation.is_jvp else []
        return Coroutine(evaluation, run, [*rules, *self._uniform, *modes])

    def shares_prefix(self, evaluation: Evaluation) -> bool:
        """Whether an evaluation goes on from one of the prefix."""
        return not evaluation.is_prefix and self._prefixes[evaluation.batch] is not None

    def _begin_prefix(self, evaluations: Sequence[Evaluation]) -> list[Evaluation]:
        """The evaluations of the prefix that these need."""
        if self._prefix is None:
            return []
        return self._prefix.begin(list(filter(self.shares_prefix, evaluations)))


class _Round:
    """The coroutines of one run."""

    def __init__(
        self, engine: Lockstep, evaluations: Sequence[Evaluation], supply: Supply, modes: Modes
    ) -> None:
        self._engine = engine
        self._supply = supply
        self._modes = modes
        self._order = {name: place for place, name in enumerate(supply.names)}
        self._trunks: dict[int, list[Trunk]] = {}  # by batch, one for each scope
        self._waiting: list[Coroutine] = []
        self._pending = list(evaluations)
        self._prefixes = {_point(e) for e in evaluations if e.is_prefix}  # not started yet
        sizes = Counter(evaluation.batch for evaluation in evaluations)
        self._alone = {batch for batch, size in sizes.items() if size == 1}
        self.asked: set[str] = set()

    def advance(self, finished: Finished, served: Callable[[str], None]) -> None:
        """Start everything, then serve the furthest behind until nobody waits."""
        self._start_ready(finished)
        while self._waiting:
            most_urgent = min(self._waiting, key=self._urgency)
            assert most_urgent.request is not None
            key = most_urgent.request.key
            group = [c for c in self._waiting if c.request and c.request.key == key]
            self.asked.update(name for c in group if c.request for name in c.request.names)
            for coroutine, response in self._supply.serve(group):
                coroutine.resume(response)
                self._settle(coroutine, finished)
                del response
            served(key[0])
            self._start_ready(finished)

    def end(self) -> None:
        """Unwind every forward that has not returned."""
        for coroutine in self._waiting:
            coroutine.end()
        self._waiting.clear()

    def _urgency(self, coroutine: Coroutine) -> tuple[int, int, int]:
        """How far behind an evaluation is: models use parameters roughly in their own order.

        A mixture of experts can send evaluations to different experts; serving the one that is
        behind first brings them together again.
        """
        request = coroutine.request
        assert request is not None
        return coroutine.uses[request.key], self._order[request.name], request.start

    def _start_ready(self, finished: Finished) -> None:
        """Start what can start, until somebody waits for a parameter or all have been started.

        An evaluation may end without waiting for any, and by that complete the trunk of others.
        """
        while self._pending:
            later = [e for e in self._pending if not self._start(e, finished)]
            started, self._pending = len(later) < len(self._pending), later
            if self._waiting:
                return
            assert started, "evaluations wait for the trunk of a baseline that is not among them"

    def _start(self, evaluation: Evaluation, finished: Finished) -> bool:
        """Start an evaluation; False where what it goes on from is not there yet.

        That is the trunk that it replays, and the prefix's evaluation at its point: the prefix may
        take longer to its own trunk's end, as by experts that no prompt is sent to.
        """
        batch = evaluation.batch
        if self._engine.shares_prefix(evaluation) and _point(evaluation) in self._prefixes:
            return False
        trunk_modes: list[TorchFunctionMode] = []
        if self._engine.share_trunk and batch not in self._alone:
            if evaluation.is_baseline and batch not in self._trunks:
                scopes = self._engine.directions.scopes
                self._trunks[batch] = [Trunk(scope.__contains__) for scope in scopes]
                trunk_modes += map(RecordTrunk, self._trunks[batch])
            elif (trunk := self._complete_trunk(evaluation)) is not None:
                trunk_modes.append(ReplayTrunk(trunk))
            else:
                return False
        if evaluation.is_prefix:
            self._prefixes.remove(_point(evaluation))
        coroutine = self._engine.coroutine(evaluation, [*self._modes(evaluation), *trunk_modes])
        self._waiting.append(coroutine)
        coroutine.resume()
        self._settle(coroutine, finished)
        return True

    def _complete_trunk(self, evaluation: Evaluation) -> Trunk | None:
        """The trunk of an evaluation's batch and scope; None until its baseline has made it."""
        trunks = self._trunks.get(evaluation.batch)
        if trunks is None:
            return None
        trunk = trunks[self._engine.directions.scope_of(evaluation.direction or 0)]
        return trunk if trunk.complete else None

    def _settle(self, coroutine: Coroutine, finished: Finished) -> None:
        if not coroutine.finished:
            self._check_trunk(coroutine)
            return
        self._waiting.remove(coroutine)
        for trunk in self._trunks.get(coroutine.evaluation.batch, ()):
            if trunk.complete:
                trunk.check()
            elif coroutine.evaluation.is_baseline:
                trunk.close()
        assert coroutine.result is not None
        if not coroutine.evaluation.is_prefix:
            finished(coroutine.evaluation, coroutine.result)
        coroutine.result = None

    def _check_trunk(self, coroutine: Coroutine) -> None:
        """Hold what a baseline asks for against the trunk that it records.

        Raises:
            TrunkMismatch: If it has met a perturbed parameter where no function mode sees that: all
                that followed would be taken for the trunk.
        """
        request, evaluation = coroutine.request, coroutine.evaluation
        if request is None or not evaluation.is_baseline:
            return
        for trunk in self._trunks.get(evaluation.batch, ()):
            if not trunk.complete and any(map(trunk.in_scope, request.names)):
                raise TrunkMismatch(f"{request.name} was used where the trunk did not see it")


def _point(evaluation: Evaluation) -> tuple[int | None, float | None, bool]:
    return evaluation.direction, evaluation.step, evaluation.dual
