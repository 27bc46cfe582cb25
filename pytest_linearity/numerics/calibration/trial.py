"""The trial: a few evaluations of a small part of the work, and what they say of the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pytest_linearity.errors import MeasurementError
from pytest_linearity.numerics.calibration.inspection import ForwardInspector
from pytest_linearity.numerics.derivatives import CANDIDATES, extrapolate, steps
from pytest_linearity.numerics.directions.directions import Directions
from pytest_linearity.numerics.lockstep.dual import unpack_dual
from pytest_linearity.numerics.lockstep.evaluation import Evaluation
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


@dataclass
class TrialResult:
    """What one arithmetic gave."""

    watch: ForwardInspector
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
        if self.watch.cached is not None:
            raise MeasurementError(
                f"the forward reads parameter {self.watch.cached!r} through a reference kept "
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
        logits: Callable[[], Tensor],
        directions: Directions,
        radius: float,
        device: torch.device,
    ) -> None:
        """Nothing runs yet; the arguments are those of `calibrate`."""
        self._model = model
        self._logits = logits
        self._directions = directions
        self._radius = radius
        self._device = device
        self.share_trunk = True
        """Whether evaluations may share their trunk."""
        self.step: float | None = None
        """Largest step of the central differences; None where forward mode works."""
        self.no_forward_mode: str | None = None
        """Why forward mode does not work."""
        self._forward_mode = True
        needed: Tensor | None = getattr(logits, "needed", None)
        self._log = SiteLog(torch.zeros(0) if needed is None else needed)
        self._candidates: list[Site] = []

    def run(self, dtype: torch.dtype) -> TrialResult:
        """Run in one arithmetic; the first run finds out what works.

        Raises:
            Exception: What the forward itself raises.
        """
        failures: list[Exception] = []
        ways = [(True, True), (False, True), (True, False), (False, False)]
        for share_trunk, forward_mode in ways:
            if share_trunk > self.share_trunk or forward_mode > self._forward_mode:
                continue
            try:
                outcome = self._attempt(dtype, share_trunk, forward_mode)
            except (MeasurementError, MemoryError, torch.OutOfMemoryError):
                raise
            except Exception as error:
                failures.append(error)
                continue
            self.share_trunk, self._forward_mode = share_trunk, forward_mode
            if not outcome.selections.chosen and not self._log.needed.all():
                self._candidates = list(self._log.seen)[-TAIL_CANDIDATES:]
            if not forward_mode and self.no_forward_mode is None:
                self.no_forward_mode = str(failures[0]).strip().splitlines()[0]
            return outcome
        # Without sharing and without tangents nothing but the forward itself can have failed.
        raise failures[-1]

    def _attempt(self, dtype: torch.dtype, share_trunk: bool, forward_mode: bool) -> TrialResult:
        watch, selections = ForwardInspector(self._model), Selections()
        logits: dict[Evaluation, Tensor] = {}
        tangents: list[Tensor | None] = []

        def finished(evaluation: Evaluation, output: Tensor) -> None:
            if evaluation.is_jvp:
                output, tangent = unpack_dual(output)
                tangents.append(torch.zeros_like(output) if tangent is None else tangent)
            logits[evaluation] = output

        def modes(evaluation: Evaluation) -> list[TorchFunctionMode]:
            return [selections, watch] if evaluation == Evaluation(0) else []

        tails: dict[int, Tail] = {0: self._log}
        for place, site in enumerate(self._candidates):
            tails[2 + place] = Tail(self._log.needed, frozenset([site]))
        Lockstep(
            self._model,
            [self._logits] * (2 + len(self._candidates)),
            self._directions,
            Arithmetic(dtype, self._device),
            share_primals=False,
            share_trunk=share_trunk,
            tails=tails,
        ).run(self._evaluations(dtype, forward_mode), finished, modes=modes)
        tangent = tangents[0] if tangents else None
        derivative = tangent if tangent is not None else self._extrapolated(logits)
        self._same_primal(logits)
        if tangent is not None and dtype == torch.float64:
            _same_derivative(logits, tangent)
        tail = frozenset(
            site
            for place, site in enumerate(self._candidates)
            if logits[Evaluation(2 + place)].isfinite().all()
        )
        return TrialResult(watch, selections, logits, self._radius, tangent, derivative, tail)

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

    def _extrapolated(self, logits: dict[Evaluation, Tensor]) -> Tensor:
        values = {e.step: output for e, output in logits.items() if e.step is not None}
        if self.step is None and len(values) > 1:
            self.step = min(CANDIDATES, key=lambda h: extrapolate(values, h)[1])
        if self.step is None or not values.keys() >= set(steps(self.step)):
            return torch.zeros_like(logits[Evaluation(0)])
        return extrapolate(values, self.step)[0]

    def _same_primal(self, logits: dict[Evaluation, Tensor]) -> None:
        """A dual evaluation carries f(θ*) along: it must be the baseline's."""
        dual = logits.get(Evaluation(0, 0))
        if dual is None:
            return
        baseline = logits[Evaluation(0)]
        if float((dual - baseline).norm()) > 1e-3 * float(baseline.norm()):
            raise TrunkMismatch("a forward with a tangent did not compute what one without does")


def _same_derivative(logits: dict[Evaluation, Tensor], tangent: Tensor) -> None:
    """A tangent is lost where values leave torch, or are detached: differences show it.

    Raises:
        ArithmeticError: If forward mode gives another derivative than differences do.
    """
    slope = (logits[Evaluation(0, 0, _NUDGE)] - logits[Evaluation(0)]) / _NUDGE
    error, size = float((slope - tangent).norm()), float(slope.norm())
    rounding = 1e-12 * float(logits[Evaluation(0)].norm()) / _NUDGE
    if error > max(1e-4 * size, rounding):
        raise ArithmeticError(
            "forward mode loses part of the derivative: it is off by a vector of norm "
            f"{error:.3g} from central differences of norm {size:.3g}"
        )
