"""Several measurements of one model at once, as those of several scopes.

Each measurement is a coroutine that is suspended where it needs evaluations. Once all of them are,
the evaluations that they wait for advance together: one baseline serves all of them, and each
parameter is read once. What a measurement makes of the results is its own business, and so is an
error of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import greenlet
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pytest_linearity.errors import pass_on_foreign
from pytest_linearity.numerics.directions.source import JointDirections
from pytest_linearity.numerics.lockstep.evaluation import PREFIX, Evaluation
from pytest_linearity.numerics.lockstep.logits import Logits
from pytest_linearity.numerics.lockstep.prefix import PrefixMismatch
from pytest_linearity.numerics.lockstep.scheduler import Lockstep
from pytest_linearity.numerics.lockstep.state import StateMismatch
from pytest_linearity.numerics.lockstep.tail import Tail, TailMismatch
from pytest_linearity.numerics.lockstep.trunk import TrunkMismatch
from pytest_linearity.numerics.measurement.jobs import Alone, Engine, Job, Sink, check_state
from pytest_linearity.numerics.measurement.schedule import Progress

T = TypeVar("T")


def measure_together(measurements: Sequence[Callable[[Engine], T]]) -> list[T | Exception]:
    """Run measurements of one model at once.

    Args:
        measurements: Each is given the engine that it must run its jobs with.

    Returns:
        What each returned, or what it raised.

    Raises:
        BaseException: What is no Exception, as Ctrl-C; every measurement is unwound then.

    Example:
        >>> from torch import nn
        >>> from pytest_linearity import Directions, Setup, measure_with
        >>> model, inputs = nn.Linear(3, 5), torch.ones(2, 3)
        >>> batches = [lambda: model(inputs)]  # the same for all, so that they share baselines
        >>> def of(scope):
        ...     directions = Directions(model, 2, scope=scope)
        ...     return lambda engine: measure_with(
        ...         Setup(model, batches, directions, torch.device("cpu"), engine=engine), [0.1]
        ...     )
        >>> [each.radii for each in measure_together([of("full"), of("biases")])]
        [(0.1,), (0.1,)]
    """
    if len(measurements) == 1 or _one_of_several_ranks():
        return [_outcome(measurement) for measurement in measurements]
    return _Coordinator().outcomes(measurements)


def split_progress(progress: Progress | None, members: int) -> list[Progress | None]:
    """For each of several measurements what it is to tell, so that `progress` hears of all."""
    if progress is None:
        return [None] * members
    parts = [0.0] * members

    def part(member: int, done: int, total: int) -> None:
        parts[member] = max(parts[member], done / max(total, 1))
        progress(int(1000 * sum(parts) / members), 1000)

    return [partial(part, member) for member in range(members)]


def _outcome(measurement: Callable[[Engine], T]) -> T | Exception:
    try:
        return measurement(Alone())
    except Exception as error:
        return error


def _one_of_several_ranks() -> bool:
    """Ranks wait for each other in the middle of a measurement: all must do so in one order."""
    distributed = torch.distributed
    running = distributed.is_available() and distributed.is_initialized()
    return running and distributed.get_world_size() > 1


class _Coordinator:
    """The engine of all measurements; runs what they wait for once all of them wait."""

    def __init__(self) -> None:
        self._main = greenlet.getcurrent()
        self._waiting: dict[greenlet.greenlet, Job] = {}
        self._alive: list[greenlet.greenlet] = []
        self._outcomes: dict[greenlet.greenlet, Any] = {}

    @property
    def members(self) -> int:
        """How many measurements are not done yet."""
        return len(self._alive)

    def run(self, job: Job) -> None:
        """Suspend the measurement that asks until its job is done."""
        self._main.switch(job)

    def outcomes(self, measurements: Sequence[Callable[[Engine], T]]) -> list[T | Exception]:
        """All measurements, to their ends."""
        everyone = [greenlet.greenlet(measurement) for measurement in measurements]
        self._alive = list(everyone)
        try:
            for member in everyone:
                member.gr_context = copy_context()
                self._resume(member, self)
            while self._waiting:
                self._serve(self._next())
        finally:
            for member in list(self._alive):
                member.throw(greenlet.GreenletExit)
        return [self._outcomes[member] for member in everyone]

    def _next(self) -> list[greenlet.greenlet]:
        """Those that wait for the same arithmetic; the widest first, as measurements have it."""
        arithmetics = {job.arithmetic for job in self._waiting.values()}
        first = max(arithmetics, key=lambda arithmetic: arithmetic.dtype.itemsize)
        return [member for member, job in self._waiting.items() if job.arithmetic == first]

    def _serve(self, members: Sequence[greenlet.greenlet]) -> None:
        jobs = [self._waiting.pop(member) for member in members]
        failures: list[Exception | None] = [None] * len(jobs)
        try:
            run_jointly(jobs)
        except (TrunkMismatch, TailMismatch, PrefixMismatch) as error:
            # Each knows how to go on with less in common.
            failures = [error if job.shares_work else _failure(job) for job in jobs]
        except StateMismatch as error:
            failures = [error if job.has_several_batches else _failure(job) for job in jobs]
        except Exception as error:
            pass_on_foreign(error)
            failures = [_failure(job) for job in jobs]  # whose error is it?
        for member, failure in zip(members, failures, strict=True):
            self._resume(member, failure)

    def _resume(self, member: greenlet.greenlet, response: object) -> None:
        """Let a measurement go on to its next job, or to its end."""
        try:
            failed = isinstance(response, Exception)
            reached = member.throw(response) if failed else member.switch(response)
        except Exception as error:
            reached = error
        if member.dead:
            self._alive.remove(member)
            self._outcomes[member] = reached
        else:
            self._waiting[member] = reached


def _failure(job: Job) -> Exception | None:
    try:
        Alone().run(job)
    except Exception as error:
        return error
    return None


def run_jointly(jobs: Sequence[Job]) -> None:
    """Run jobs of one model in one arithmetic, each evaluation that several need once.

    Raises:
        StateMismatch: As `Engine.run`.
        TrunkMismatch, TailMismatch: See `Lockstep`.
        BaseException: Whatever a forward raises.
    """
    if len(jobs) == 1:
        Alone().run(jobs[0])
        return
    joint = _JointRun(jobs)
    engine = Lockstep(
        jobs[0].model,
        joint.logits,
        joint.directions,
        jobs[0].arithmetic,
        share_primals=all(job.share_primals for job in jobs),
        share_trunk=all(job.share_trunk for job in jobs),
        tails=joint.tails(),
        interleaved=all(job.interleaved for job in jobs),
    )
    engine.run(list(joint.owners), joint.take, modes=joint.modes, served=joint.served)
    check_state(engine, list(joint.owners))


class _JointRun:
    """Several jobs, their batches and directions numbered one after another."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        """Number them; a batch of several jobs is one, and so is its baseline."""
        self._jobs = jobs
        self._sinks = [job.sink() for job in jobs]
        self.logits: list[Logits] = []
        self.directions = JointDirections(
            [job.directions for job in jobs], [job.count for job in jobs]
        )
        self._batches = [[self._batch(run) for run in job.logits] for job in jobs]
        self.owners: dict[Evaluation, list[tuple[Sink, Evaluation]]] = {}
        """Whose every evaluation is, and what its owners call it."""
        for member, job in enumerate(jobs):
            for own in job.evaluations:
                owner = self._sinks[member], own
                self.owners.setdefault(self._renumbered(member, own), []).append(owner)

    def take(self, evaluation: Evaluation, output: Tensor) -> None:
        """Hand a result to those whose it is."""
        for sink, own in self.owners[evaluation]:
            sink.take(own, output)

    def modes(self, evaluation: Evaluation) -> list[TorchFunctionMode]:
        """The modes that any of them wants."""
        owners = self.owners.get(evaluation) or self._owners_of_prefix(evaluation)
        return [mode for sink, own in owners for mode in sink.modes(own)]

    def _owners_of_prefix(self, evaluation: Evaluation) -> list[tuple[Sink, Evaluation]]:
        """Whose prompts an evaluation of their shared prefix serves, each once."""
        served = {
            sink: replace(own, batch=PREFIX)
            for whose, owners in self.owners.items()
            if replace(whose, batch=PREFIX) == evaluation
            for sink, own in owners
        }
        return list(served.items())

    def served(self, name: str) -> None:
        """Tell all of them."""
        for job in self._jobs:
            job.served(name)

    def tails(self) -> dict[int, Tail]:
        """What linear layers may leave out, by batch: what all who use it would."""
        common_tails: dict[int, Tail] = {}
        for batch in range(len(self.logits)):
            tails = list(self._tails_of(batch))
            if all(tail is not None for tail in tails):
                first, *others = [tail for tail in tails if tail is not None]
                common = first.sites.intersection(*(tail.sites for tail in others))
                common_tails[batch] = replace(first, sites=common)
        return common_tails

    def _tails_of(self, batch: int) -> Iterator[Tail | None]:
        for job, batches in zip(self._jobs, self._batches, strict=True):
            if batch in batches:
                yield job.tails.get(batches.index(batch))

    def _batch(self, run: Logits) -> int:
        for number, other in enumerate(self.logits):
            if other is run:
                return number
        self.logits.append(run)
        return len(self.logits) - 1

    def _renumbered(self, member: int, own: Evaluation) -> Evaluation:
        batch = self._batches[member][own.batch]
        if own.direction is None:
            return replace(own, batch=batch)
        return replace(own, batch=batch, direction=self.directions.offsets[member] + own.direction)
