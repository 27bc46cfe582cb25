"""What a pass asks of the lockstep engine, and who runs it: each measurement alone, or several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pytest_linearity.errors import shown_names
from pytest_linearity.numerics.directions.source import DirectionSource
from pytest_linearity.numerics.lockstep.evaluation import Evaluation
from pytest_linearity.numerics.lockstep.logits import Logits, prefix_of
from pytest_linearity.numerics.lockstep.scheduler import Lockstep
from pytest_linearity.numerics.lockstep.state import StateMismatch
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
    """Evaluations of one measurement that are to advance together, and where results go.

    It is what `Lockstep` is made of and run with, as a value: whoever has several of one model and
    arithmetic can run them as one, which gives each the results it would have alone. Results are
    logits, float Tensor [prompts, V], or a dual number of them for a JVP; with hidden states beside
    them where `logits` are tapped.
    """

    model: nn.Module
    """The same for all jobs that run as one."""
    logits: Sequence[Logits]
    """The batches, which `Evaluation.batch` counts."""
    directions: DirectionSource
    """What `Evaluation.direction` counts."""
    count: int
    """How many directions there are."""
    arithmetic: Arithmetic
    """In which dtype, on which device."""
    share_primals: bool
    """Whether JVPs may hold the baseline's products."""
    share_trunk: bool
    """Whether what runs before the first perturbed parameter may run once."""
    tails: Mapping[int, Tail]
    """What linear layers may leave out, by batch."""
    interleaved: bool
    """Whether evaluations may advance together."""
    evaluations: Sequence[Evaluation]
    """What is to run; every batch with its baseline."""
    sink: Callable[[], Sink]
    """Makes a new sink, should the evaluations have to run again."""
    served: Callable[[str], None]
    """Told the name of each parameter when it has been served."""

    @property
    def has_several_batches(self) -> bool:
        """Whether evaluations of several batches are to run."""
        return len({evaluation.batch for evaluation in self.evaluations}) > 1

    @property
    def shares_work(self) -> bool:
        """Whether evaluations have a trunk, a tail or a prefix that they could do without."""
        prefixes = (prefix_of(run) for run in self.logits)
        return self.share_trunk or bool(self.tails) or any(prefixes)


class Engine(Protocol):
    """Runs jobs: each at once, or together with those of other measurements."""

    @property
    def members(self) -> int:
        """How many jobs may be under way at once, and share what memory there is."""

    def run(self, job: Job) -> None:
        """Run a job to its end.

        Raises:
            StateMismatch: If it has several batches, and forwards change the state of their model.
            TrunkMismatch, TailMismatch, PrefixMismatch: See `Lockstep`.
            BaseException: Whatever a forward raises.
        """


class Alone:
    """Runs every job by itself, at once."""

    members = 1

    def run(self, job: Job) -> None:
        """Run a job to its end."""
        sink = job.sink()
        engine = Lockstep(
            job.model,
            job.logits,
            job.directions,
            job.arithmetic,
            share_primals=job.share_primals,
            share_trunk=job.share_trunk,
            tails=job.tails,
            interleaved=job.interleaved,
        )
        engine.run(job.evaluations, sink.take, modes=sink.modes, served=job.served)
        check_state(engine, job.evaluations)


def check_state(engine: Lockstep, evaluations: Sequence[Evaluation]) -> None:
    """Batches that advance together must find the state that the model is in.

    What one of them grows or switches for its own length, the other would go on with.

    Raises:
        StateMismatch: If there are several, and forwards have changed it.
    """
    batches = {evaluation.batch for evaluation in evaluations}
    if engine.interleaved and engine.changed and len(batches) > 1:
        raise StateMismatch(f"forwards change {shown_names(sorted(engine.changed))}")
