"""The trial: a few evaluations of a small part of the work, and what they say of the model.

Evaluations may share what runs before the first perturbed parameter, and take derivatives in
forward mode; neither works for every model. The ways are tried from the quickest to the one that
asks nothing of the forward but to run, and the first that succeeds is kept to. What it computed is
then held against itself, as a way that fails silently would be worse than one that raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pytest_linearity.errors import MeasurementError, first_line, pass_on_foreign, shown_names
from pytest_linearity.numerics.calibration.inspection import ForwardInspector
from pytest_linearity.numerics.calibration.slopes import Ladder, nudges, rounding_of_checked
from pytest_linearity.numerics.directions.directions import Directions
from pytest_linearity.numerics.lockstep.dual import unpack_dual
from pytest_linearity.numerics.lockstep.evaluation import Evaluation
from pytest_linearity.numerics.lockstep.logits import Logits, check_logits, needed_tokens
from pytest_linearity.numerics.lockstep.scheduler import Lockstep
from pytest_linearity.numerics.lockstep.tail import Site, SiteLog, Tail
from pytest_linearity.numerics.lockstep.trunk import TrunkMismatch
from pytest_linearity.numerics.precision import Arithmetic
from pytest_linearity.numerics.routing import Selections

_SAME = 1e-6
"""Two float64 forwards at θ* that differ by more than this, relative to their norm, did not
compute the same thing: even atomic additions in any order stay nine digits below."""

TAIL_CANDIDATES = 8
"""How many of the last linear layers may turn out to matter for the last tokens only: those of one
block."""


class _Way(NamedTuple):
    """How the evaluations of a trial are taken."""

    shares_trunk: bool
    """Whether what runs before the first perturbed parameter runs once."""
    forward_mode: bool
    """Whether Jδ is a tangent; from differences otherwise."""

    def asks_no_more_than(self, other: _Way) -> bool:
        """Whether all that this way needs of a model is needed by the other one, too."""
        return (other.shares_trunk or not self.shares_trunk) and (
            other.forward_mode or not self.forward_mode
        )


_WAYS = (_Way(True, True), _Way(False, True), _Way(True, False), _Way(False, False))
"""From the quickest to the one that only a forward that does not run at all can fail."""


@dataclass(frozen=True)
class TrialResult:
    """What one arithmetic gave."""

    inspector: ForwardInspector
    """What was seen of the baseline's forward."""
    selections: Mapping[Evaluation, Selections]
    """The discrete choices of the baseline, and of the step to the smallest radius."""
    logits: dict[Evaluation, Tensor]
    """What each evaluation gave, Tensor [prompts, V]."""
    radius: float
    """The smallest radius."""
    tangent: Tensor | None
    """Jδ by forward mode."""
    derivative: Tensor
    """Jδ by whatever works."""
    step: float | None
    """Largest step of the central differences that it was extrapolated from; None for none."""
    step_error: float
    """The relative error of those differences."""
    rounding: float
    """Norm of what rounding in float64 adds to the change of one prompt's logits; 0 for float32,
    whose rounding shows against float64."""
    tail: frozenset[Site]
    """Sites of which some rows were left out, and the logits did not notice."""
    changed: frozenset[str]
    """Names of attributes and buffers that forwards have changed."""
    asked: frozenset[str]
    """Canonical names of the parameters that forwards have asked for."""

    @property
    def baseline(self) -> Tensor:
        """f(θ*), Tensor [prompts, V]."""
        return self.logits[Evaluation(0)]

    @property
    def change(self) -> Tensor:
        """Δ_true."""
        return self.logits[Evaluation(0, 0, self.radius)] - self.baseline

    @property
    def repeats(self) -> bool:
        """Whether a second forward at θ* gave the same."""
        first, second = self.logits[Evaluation(0)], self.logits[Evaluation(1)]
        return not float((first - second).norm()) > _SAME * float(first.norm())

    def check(self) -> None:
        """Refuse a model that is not a function of its served parameters.

        Raises:
            MeasurementError: With what was found.
        """
        self.check_references()
        if not self.asked:
            raise MeasurementError(
                "no evaluation asked for any of the model's parameters: it is scripted or traced "
                "(torch.jit), where no perturbation reaches them, or it is another model that runs"
            )
        if self.repeats:
            return
        first, second = self.logits[Evaluation(0)], self.logits[Evaluation(1)]
        changed = f"; it changes {shown_names(sorted(self.changed))}" if self.changed else ""
        raise MeasurementError(
            "the model's forward is not deterministic: two forwards with the same parameters and "
            f"prompt differ by {float((first - second).norm()):.3g} in logits of norm "
            f"{float(first.norm()):.3g}{changed}; switch off dropout and other sampling "
            "(model.eval()), and what is kept from one forward to the next"
        )

    def check_references(self) -> None:
        """Refuse a model that reads a parameter past its module.

        Raises:
            MeasurementError: With the parameter's name.
        """
        if self.inspector.cached is not None:
            raise MeasurementError(
                f"the forward reads parameter {self.inspector.cached!r} through a reference kept "
                "elsewhere than in its module, so that a perturbation would not reach the logits; "
                "read it as an attribute of the module that owns it"
            )


class Trial:
    """The calibration's evaluations, and what may be shared between them."""

    def __init__(
        self,
        model: nn.Module,
        logits: Logits,
        directions: Directions,
        radius: float,
        device: torch.device,
        *,
        interleaved: bool = True,
    ) -> None:
        """The arguments are those of `calibrate`; `interleaved` is that of `Lockstep`."""
        self._model = model
        self._logits = logits
        self._directions = directions
        self._radius = radius
        self._device = device
        self._interleaved = interleaved
        self.step: float | None = None
        """Largest step of the central differences; None where forward mode works."""
        self.no_forward_mode: str | None = None
        """Why forward mode does not work."""
        self.only_exact = False
        """Whether it works in float64 alone."""
        self._way = _WAYS[0]
        self._ran = False
        needed = needed_tokens(logits)
        self._log = SiteLog(torch.zeros(0) if needed is None else needed)
        self._candidates: list[Site] = []

    @property
    def share_trunk(self) -> bool:
        """Whether evaluations may share their trunk."""
        return self._way.shares_trunk

    @property
    def between(self) -> Evaluation:
        """An evaluation that in every group is served after some and before others.

        Of state that evaluations share the first of them, or the last, may be right; not this one.
        """
        return Evaluation(0, 0, -self._radius)

    def run(self, dtype: torch.dtype) -> TrialResult:
        """Run in one arithmetic; the first run finds out what works, and a later one keeps to it.

        Raises:
            Exception: What the forward itself raises.
        """
        failures: list[Exception] = []
        for way in _WAYS:
            if not way.asks_no_more_than(self._way):
                continue
            try:
                result = self._attempt(dtype, way)
            except (MeasurementError, MemoryError, torch.OutOfMemoryError):
                raise
            except Exception as error:
                pass_on_foreign(error)
                failures.append(error)
            else:
                self._keep_to(way, result, failures)
                return result
        # Without sharing and without tangents nothing but the forward itself can have failed.
        raise failures[-1]

    def _keep_to(self, way: _Way, result: TrialResult, failures: Sequence[Exception]) -> None:
        """Remember what worked, and why nothing quicker did."""
        self.only_exact = self._ran and self._way.forward_mode and not way.forward_mode
        if self.only_exact:
            self._way = self._way._replace(shares_trunk=way.shares_trunk)
            return
        self._ran = True
        self._way = way
        self.step = result.step
        if not result.selections[Evaluation(0)].chosen and not self._log.needed.all():
            self._candidates = list(self._log.seen)[-TAIL_CANDIDATES:]
        if not way.forward_mode and self.no_forward_mode is None:
            self.no_forward_mode = first_line(failures[0])

    def _attempt(self, dtype: torch.dtype, way: _Way) -> TrialResult:
        inspector = ForwardInspector(self._model)
        selections = {
            Evaluation(0): Selections(),
            Evaluation(0, 0, self._radius): Selections(),
        }
        logits: dict[Evaluation, Tensor] = {}
        tangents: list[Tensor | None] = []

        def finished(evaluation: Evaluation, output: Tensor) -> None:
            check_logits(output)
            if evaluation.is_jvp:
                output, tangent = unpack_dual(output)
                tangents.append(torch.zeros_like(output) if tangent is None else tangent)
            logits[evaluation] = output

        def modes(evaluation: Evaluation) -> list[TorchFunctionMode]:
            watching: list[TorchFunctionMode] = []
            if evaluation in selections:
                watching.append(selections[evaluation])
            if evaluation == Evaluation(0):
                watching.append(inspector)
            return watching

        tails: dict[int, Tail] = {0: self._log}
        for place, site in enumerate(self._candidates):
            tails[2 + place] = Tail(self._log.needed, frozenset([site]))
        runs = [self._logits] * (2 + len(self._candidates))
        engine = self._lockstep(dtype, way, runs, tails)
        engine.run(self._evaluations(dtype, way.forward_mode), finished, modes=modes)
        _same_primal(logits)
        derivative = self._derivative(dtype, way, logits, tangents[0] if tangents else None)
        tail = frozenset(
            site
            for place, site in enumerate(self._candidates)
            if logits[Evaluation(2 + place)].isfinite().all()
        )
        return TrialResult(
            inspector,
            selections,
            logits,
            self._radius,
            *derivative,
            tail,
            engine.changed,
            engine.asked,
        )

    def _derivative(
        self,
        dtype: torch.dtype,
        way: _Way,
        logits: Mapping[Evaluation, Tensor],
        tangent: Tensor | None,
    ) -> tuple[Tensor | None, Tensor, float | None, float, float]:
        """The tangent, Jδ, the step of differences, their error, and the rounding of float64.

        Only float64 tells more than the tangent: it is held against differences there, which take
        its place where there is none. A later run has no derivative of its own then.
        """
        baseline = logits[Evaluation(0)]
        if dtype != torch.float64:
            derivative = torch.zeros_like(baseline) if tangent is None else tangent
            return tangent, derivative, self.step, 0.0, 0.0
        near = {step: logits[Evaluation(0, 0, step)] for step in nudges(self._radius)}
        if way.shares_trunk:
            _same_trunk(baseline, near)
        ladder = Ladder(partial(self._values, way), baseline, self._radius)
        if tangent is not None:
            return tangent, tangent, None, 0.0, rounding_of_checked(tangent, near, ladder)
        slope = ladder.climb()
        return None, slope.derivative, slope.step, slope.error, ladder.rounding()

    def _values(self, way: _Way, steps: Sequence[float]) -> dict[float, Tensor]:
        """f(θ* + sδ) at some steps s, in float64."""
        values: dict[float, Tensor] = {}

        def finished(evaluation: Evaluation, output: Tensor) -> None:
            if evaluation.step is not None:
                values[evaluation.step] = output

        self._lockstep(torch.float64, way, [self._logits]).run(
            [Evaluation(0), *(Evaluation(0, 0, step) for step in steps)], finished
        )
        return values

    def _lockstep(
        self,
        dtype: torch.dtype,
        way: _Way,
        runs: Sequence[Logits],
        tails: Mapping[int, Tail] | None = None,
    ) -> Lockstep:
        return Lockstep(
            self._model,
            runs,
            self._directions,
            Arithmetic(dtype, self._device),
            share_primals=False,
            share_trunk=way.shares_trunk,
            tails=tails,
            interleaved=self._interleaved,
        )

    def _evaluations(self, dtype: torch.dtype, forward_mode: bool) -> list[Evaluation]:
        evaluations = [Evaluation(0), Evaluation(0, 0, self._radius)]
        evaluations += [Evaluation(2 + place) for place in range(len(self._candidates))]
        if forward_mode:
            evaluations.append(Evaluation(0, 0))
        if dtype == torch.float64:
            evaluations += [Evaluation(1), self.between]
            evaluations += [Evaluation(0, 0, step) for step in nudges(self._radius)]
        return evaluations


def _same_trunk(baseline: Tensor, near: Mapping[float, Tensor]) -> None:
    """The baseline records the trunk and others replay it: close to θ* they must agree.

    Raises:
        TrunkMismatch: If they do not.
    """
    middle = sum(near.values()) / len(near)
    if float((middle - baseline).norm()) > _SAME * float(baseline.norm()):
        raise TrunkMismatch("a forward that goes on from the trunk is not near one that made it")


def _same_primal(logits: Mapping[Evaluation, Tensor]) -> None:
    """A dual evaluation carries f(θ*) along: it must be the baseline's."""
    dual = logits.get(Evaluation(0, 0))
    if dual is None:
        return
    baseline = logits[Evaluation(0)]
    if float((dual - baseline).norm()) > 1e-3 * float(baseline.norm()):
        raise TrunkMismatch("a forward with a tangent did not compute what one without does")
