"""The trial: a few evaluations of a small part of the work, and what they say of the model.

Evaluations may share what runs before the first perturbed parameter, and take derivatives in
forward mode; neither works for every model. The ways are tried from the quickest to the one that
asks nothing of the forward but to run, and the first that succeeds is kept to. What it computed is
then held against itself, as a way that fails silently would be worse than one that raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pytest_linearity.errors import MeasurementError, first_line, pass_on_foreign
from pytest_linearity.numerics.calibration.inspection import ForwardInspector
from pytest_linearity.numerics.derivatives import CANDIDATES, extrapolate, steps
from pytest_linearity.numerics.directions.directions import Directions
from pytest_linearity.numerics.lockstep.dual import unpack_dual
from pytest_linearity.numerics.lockstep.evaluation import Evaluation
from pytest_linearity.numerics.lockstep.logits import Logits, needed_tokens
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

_NUDGE = 1e-6
"""Distance from θ* of the point that checks the derivative: too near for a router to change its
choice on the way, far enough for float64."""


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
    selections: Selections
    """The baseline's discrete choices."""
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
    tail: frozenset[Site]
    """Sites of which some rows were left out, and the logits did not notice."""

    @property
    def change(self) -> Tensor:
        """Δ_true."""
        return self.logits[Evaluation(0, 0, self.radius)] - self.logits[Evaluation(0)]

    def check(self) -> None:
        """Refuse a model that is not a function of its served parameters.

        Raises:
            MeasurementError: With what was found.
        """
        if self.inspector.cached is not None:
            raise MeasurementError(
                f"the forward reads parameter {self.inspector.cached!r} through a reference kept "
                "elsewhere than in its module, so that a perturbation would not reach the logits; "
                "read it as an attribute of the module that owns it"
            )
        first, second = self.logits[Evaluation(0)], self.logits[Evaluation(1)]
        size, difference = float(first.norm()), float((first - second).norm())
        if difference > _SAME * size:
            raise MeasurementError(
                "the model's forward is not deterministic: two forwards with the same parameters "
                f"and prompt differ by {difference:.3g} in logits of norm {size:.3g}; "
                "switch off dropout and other sampling (model.eval())"
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
    ) -> None:
        """The arguments are those of `calibrate`."""
        self._model = model
        self._logits = logits
        self._directions = directions
        self._radius = radius
        self._device = device
        self.step: float | None = None
        """Largest step of the central differences; None where forward mode works."""
        self.no_forward_mode: str | None = None
        """Why forward mode does not work."""
        self._way = _WAYS[0]
        needed = needed_tokens(logits)
        self._log = SiteLog(torch.zeros(0) if needed is None else needed)
        self._candidates: list[Site] = []

    @property
    def share_trunk(self) -> bool:
        """Whether evaluations may share their trunk."""
        return self._way.shares_trunk

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
        self._way = way
        self.step = result.step
        if not result.selections.chosen and not self._log.needed.all():
            self._candidates = list(self._log.seen)[-TAIL_CANDIDATES:]
        if not way.forward_mode and self.no_forward_mode is None:
            self.no_forward_mode = first_line(failures[0])

    def _attempt(self, dtype: torch.dtype, way: _Way) -> TrialResult:
        inspector, selections = ForwardInspector(self._model), Selections()
        logits: dict[Evaluation, Tensor] = {}
        tangents: list[Tensor | None] = []

        def finished(evaluation: Evaluation, output: Tensor) -> None:
            if evaluation.is_jvp:
                output, tangent = unpack_dual(output)
                tangents.append(torch.zeros_like(output) if tangent is None else tangent)
            logits[evaluation] = output

        def modes(evaluation: Evaluation) -> list[TorchFunctionMode]:
            return [selections, inspector] if evaluation == Evaluation(0) else []

        tails: dict[int, Tail] = {0: self._log}
        for place, site in enumerate(self._candidates):
            tails[2 + place] = Tail(self._log.needed, frozenset([site]))
        Lockstep(
            self._model,
            [self._logits] * (2 + len(self._candidates)),
            self._directions,
            Arithmetic(dtype, self._device),
            share_primals=False,
            share_trunk=way.shares_trunk,
            tails=tails,
        ).run(self._evaluations(dtype, way.forward_mode), finished, modes=modes)
        tangent = tangents[0] if tangents else None
        derivative, step = (tangent, None) if tangent is not None else self._extrapolated(logits)
        _same_primal(logits)
        if tangent is not None and dtype == torch.float64:
            _same_derivative(logits, tangent)
        tail = frozenset(
            site
            for place, site in enumerate(self._candidates)
            if logits[Evaluation(2 + place)].isfinite().all()
        )
        return TrialResult(
            inspector, selections, logits, self._radius, tangent, derivative, step, tail
        )

    def _evaluations(self, dtype: torch.dtype, forward_mode: bool) -> list[Evaluation]:
        evaluations = [Evaluation(0), Evaluation(0, 0, self._radius)]
        if dtype == torch.float64:
            evaluations.append(Evaluation(1))
        evaluations += [Evaluation(2 + place) for place in range(len(self._candidates))]
        if forward_mode:
            evaluations.append(Evaluation(0, 0))
            if dtype == torch.float64:
                evaluations.append(Evaluation(0, 0, _NUDGE))
        elif dtype == torch.float64:
            at = {step for h in CANDIDATES for step in steps(h)} - {self._radius}
            evaluations += [Evaluation(0, 0, step) for step in sorted(at)]
        return evaluations

    def _extrapolated(self, logits: Mapping[Evaluation, Tensor]) -> tuple[Tensor, float | None]:
        """Jδ from central differences, and their largest step.

        Only the first run, in float64, evaluates all steps and chooses among them; a later one has
        no derivative of its own.
        """
        values = {e.step: output for e, output in logits.items() if e.step is not None}
        step = self.step
        if step is None and len(values) > 1:
            step = min(CANDIDATES, key=lambda h: extrapolate(values, h)[1])
        if step is None or not values.keys() >= set(steps(step)):
            return torch.zeros_like(logits[Evaluation(0)]), step
        return extrapolate(values, step)[0], step


def _same_primal(logits: Mapping[Evaluation, Tensor]) -> None:
    """A dual evaluation carries f(θ*) along: it must be the baseline's."""
    dual = logits.get(Evaluation(0, 0))
    if dual is None:
        return
    baseline = logits[Evaluation(0)]
    if float((dual - baseline).norm()) > 1e-3 * float(baseline.norm()):
        raise TrunkMismatch("a forward with a tangent did not compute what one without does")


def _same_derivative(logits: Mapping[Evaluation, Tensor], tangent: Tensor) -> None:
    """A tangent is lost where values leave torch, or are detached: a difference shows it.

    One-sided, as its error at so small a step is far below what would be lost.

    Raises:
        ArithmeticError: If forward mode gives another derivative than the difference does.
    """
    slope = (logits[Evaluation(0, 0, _NUDGE)] - logits[Evaluation(0)]) / _NUDGE
    error, size = float((slope - tangent).norm()), float(slope.norm())
    rounding = 1e-12 * float(logits[Evaluation(0)].norm()) / _NUDGE
    if error > max(1e-4 * size, rounding):
        raise ArithmeticError(
            "forward mode loses part of the derivative: it is off by a vector of norm "
            f"{error:.3g} from a one-sided difference of norm {size:.3g}"
        )
