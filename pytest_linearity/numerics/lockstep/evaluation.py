"""One evaluation of the model, as a coroutine that can be suspended inside a forward.

The forward is the model's own code, which knows of no suspension: a greenlet has a stack of its
own, so that it can be left in the middle of any call and entered again there. What torch keeps for
a thread, as its modes and whether gradients are on, is put aside with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

import greenlet
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

from pytest_linearity.errors import MeasurementError
from pytest_linearity.numerics.lockstep.loans import Loans
from pytest_linearity.numerics.lockstep.requests import Request
from pytest_linearity.numerics.lockstep.tail import Site

PREFIX = -1
"""In place of a batch: what all prompts begin with; see `lockstep.prefix`."""


@dataclass(frozen=True)
class Evaluation:
    """Which evaluation: of which batch, at which point of parameter space.

    Without a direction it is the baseline f(θ*). With a direction and no step it carries the dual
    number (θ*, δ) and gives f(θ*) and Jδ; with a step it is f(θ* + step · δ), and carries the
    tangent δ along only if it is `dual`.
    """

    batch: int
    """Index of the batch, or `PREFIX`."""
    direction: int | None = None
    """Index of the direction; None for the baseline."""
    step: float | None = None
    """How far along the direction; None for the JVP at θ*."""
    dual: bool = False
    """Whether an evaluation with a step gives the JVP there, too."""

    @property
    def is_prefix(self) -> bool:
        """Whether it only serves others: what it gives is of no interest."""
        return self.batch == PREFIX

    @property
    def is_baseline(self) -> bool:
        """Whether it is f(θ*)."""
        return self.direction is None

    @property
    def is_jvp(self) -> bool:
        """Whether it carries a tangent."""
        return self.direction is not None and (self.step is None or self.dual)


class Coroutine:
    """An evaluation that runs until it needs a parameter, and goes on when it has got it."""

    def __init__(
        self, evaluation: Evaluation, run: Callable[[], Tensor], modes: list[TorchFunctionMode]
    ) -> None:
        """A coroutine that is to be started by `resume`.

        Args:
            evaluation: What this is.
            run: The forward: a call that returns the logits.
            modes: Torch function modes that are active inside it, outermost first.
        """
        self.evaluation = evaluation
        self.request: Request | None = None
        self.result: Tensor | None = None
        self.uses: dict[tuple[str, int, int], int] = {}
        self._loans = Loans()
        self._greenlet = _EvaluationGreenlet(run)
        self._greenlet.coroutine = self
        # A greenlet has context variables of its own, which would all be at their defaults.
        self._greenlet.gr_context = copy_context()
        self._state = _ThreadState(modes)

    @property
    def site(self) -> Site:
        """Where in its forward a suspended evaluation stands."""
        assert self.request is not None
        name, start, _ = self.request.key
        return Site(name, start, self.uses[self.request.key])

    @property
    def finished(self) -> bool:
        """Whether the forward has returned; `result` then holds the logits."""
        return bool(self._greenlet.dead)

    def resume(self, response: Any = None) -> None:
        """Go on to the next request or to the end.

        Args:
            response: What the last request asked for; nothing for the first call.

        Raises:
            MeasurementError: If the forward has written into a parameter's values.
            BaseException: Whatever the forward raises.
        """
        if self.request is not None and self.request.lends:
            self._loans.lend(response, self.request.name)
        self.request = None
        started = bool(self._greenlet)
        outer = _ThreadState.take()
        self._state.put()
        try:
            outcome = self._greenlet.switch(response) if started else self._greenlet.switch()
        finally:
            self._state = _ThreadState.take()
            outer.put()
        # Now, as `response` is held until here: none is written into and forgotten unseen.
        self._loans.check()
        if self.finished:
            self.result = outcome
        else:
            self.request = outcome
            self.uses[outcome.key] = self.uses.get(outcome.key, -1) + 1

    def end(self) -> None:
        """Unwind the forward where it stands; does nothing to one that has finished."""
        outer = _ThreadState.take()
        self._state.put()
        try:
            if self._greenlet and not self._greenlet.dead:
                self._greenlet.throw(greenlet.GreenletExit)
        finally:
            _ThreadState.take()
            outer.put()


class _EvaluationGreenlet(greenlet.greenlet):  # type: ignore[misc]
    coroutine: Coroutine


def current() -> Coroutine | None:
    """The evaluation this code runs in; None outside of any."""
    running = greenlet.getcurrent()
    return running.coroutine if isinstance(running, _EvaluationGreenlet) else None


class OutsideEvaluation(MeasurementError):
    """A parameter was read where nobody can serve it."""

    def __init__(self, name: str) -> None:
        """The error of one parameter."""
        super().__init__(
            f"parameter {name!r} was read outside of an evaluation while the model is being "
            "measured: in a thread that its forward starts, or by another user of the model; "
            "neither can be followed"
        )


def ask(request: Request) -> Any:
    """Suspend the running evaluation until its request is served.

    Raises:
        OutsideEvaluation: If no evaluation is running: the model is in use from elsewhere.
        RuntimeError: If the tangent of a parameter would be lost.
    """
    running = greenlet.getcurrent()
    if not isinstance(running, _EvaluationGreenlet):
        raise OutsideEvaluation(request.name)
    if running.coroutine.evaluation.is_jvp and not torch._C._is_fwd_grad_enabled():
        raise RuntimeError(
            f"parameter {request.name!r} is used where forward mode is off, as it is inside a "
            "custom autograd.Function"
        )
    return running.parent.switch(request)


_AUTOCAST = ("cpu", "cuda")


class _ThreadState:
    """Torch's thread-local switches, which would leak from one coroutine into the next."""

    def __init__(self, modes: list[TorchFunctionMode]) -> None:
        self.modes = modes
        self.grad = False
        # Off inside a custom autograd function, which may well use parameters.
        self.forward_grad = True
        self.autocast = dict.fromkeys(_AUTOCAST, False)
        self.transforms: list[Any] = []  # of torch.func, the innermost first
        self.event_loop: Any = None

    @classmethod
    def take(cls) -> _ThreadState:
        """Read the present state and leave one without modes."""
        state = cls([mode for mode in _mode_stack() if not _is_over(mode)])
        while under_transform():
            state.transforms.append(torch._C._functorch.pop_dynamic_layer_stack())
        for _ in _mode_stack():
            torch._C._pop_torch_function_stack()
        state.event_loop = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        state.grad = torch.is_grad_enabled()
        state.forward_grad = torch._C._is_fwd_grad_enabled()
        state.autocast = {kind: torch.is_autocast_enabled(kind) for kind in _AUTOCAST}
        return state

    def put(self) -> None:
        """Make this the present state; the mode stack must be empty."""
        torch.set_grad_enabled(self.grad)
        torch._C._set_fwd_grad_enabled(self.forward_grad)
        for kind, enabled in self.autocast.items():
            torch.set_autocast_enabled(kind, enabled)
        asyncio._set_running_loop(self.event_loop)
        for transform in reversed(self.transforms):
            torch._C._functorch.push_dynamic_layer_stack(transform)
        # Last, as modes would see the calls above.
        for mode in self.modes:
            torch._C._push_on_torch_function_stack(mode)


def under_transform() -> bool:
    """Whether this code runs inside a transform of torch.func, as vmap or grad."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def _mode_stack() -> list[TorchFunctionMode]:
    stack: list[TorchFunctionMode] = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    return stack


def _is_over(mode: TorchFunctionMode) -> bool:
    """Whether a mode has said that it need not see further calls."""
    return bool(getattr(mode, "over", False))
