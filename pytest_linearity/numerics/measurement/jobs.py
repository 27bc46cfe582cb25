"""What a pass asks of the lockstep engine, and who runs it: each measurement alone, or several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pytest_linearity.numerics.directions.source import DirectionSource
from pytest_linearity.numerics.lockstep.evaluation import Evaluation
from pytest_linearity.numerics.lockstep.logits import Logits, prefix_of
from pytest_linearity.numerics.lockstep.scheduler import Lockstep
from pytest_linearity.numerics.lockstep.tail import Tail
from pytest_linearity.numerics.precision import Arithmetic


class Sink(Protocol):
    """Where the results of evaluations go; see `Reduction`."""

    def take(self, evaluation: Evaluation, output: Tensor) -> None:
        """Take in an evaluation that has ended."""

    def modes(self, evaluation: Evaluation) -> list[TorchFunctionMode]:
        """Modes that an evaluation is to run under."""


@dataclass(frozen=True)
class Job:
    """Evaluations that are to advance together; the fields are those of `Lockstep`."""

    model: nn.Module
    logits: Sequence[Logits]
    directions: DirectionSource
    count: int
    """How many directions there are."""
    arithmetic: Arithmetic
    share_primals: bool
    share_trunk: bool
    tails: Mapping[int, Tail]
    evaluations: Sequence[Evaluation]
    sink: Callable[[], Sink]
    """Makes a new sink, should the evaluations have to run again."""
    served: Callable[[str], None]

    @property
    def shares_work(self) -> bool:
        """Whether evaluations have a trunk, a tail or a prefix that they could do without."""
        prefixes = (prefix_of(run) for run in self.logits)
        return self.share_trunk or bool(self.tails) or any(prefixes)


class Engine(Protocol):
    """Runs jobs."""

    @property
    def members(self) -> int:
        """How many jobs may be under way at once, and share what memory there is."""

    def run(self, job: Job) -> None:
        """Run a job to its end.

        Raises:
            TrunkMismatch, TailMismatch, PrefixMismatch: See `Lockstep`.
            BaseException: Whatever a forward raises.
        """


class Alone:
    """Runs every job by itself, at once."""

    members = 1

    def run(self, job: Job) -> None:
        """Run a job to its end."""
        sink = job.sink()
        Lockstep(
            job.model,
            job.logits,
            job.directions,
            job.arithmetic,
            share_primals=job.share_primals,
            share_trunk=job.share_trunk,
            tails=job.tails,
        ).run(job.evaluations, sink.take, modes=sink.modes, served=job.served)
