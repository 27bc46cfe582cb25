"""The jobs of several measurements as one run of the lockstep engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from torch import Tensor
from torch.overrides import TorchFunctionMode

from pytest_linearity.directions import JointDirections
from pytest_linearity.engine import Alone, Job, Sink
from pytest_linearity.lockstep import Evaluation, Lockstep
from pytest_linearity.lockstep.evaluation import PREFIX
from pytest_linearity.lockstep.tail import Tail


def run_jointly(jobs: Sequence[Job]) -> None:
    """Run jobs of one model in one arithmetic, each evaluation that several need once.

    Raises:
        TrunkMismatch, TailMismatch: See `Lockstep`.
        BaseException: Whatever a forward raises.
    """
    if len(jobs) == 1:
        Alone().run(jobs[0])
        return
    joint = _Joint(jobs)
    Lockstep(
        jobs[0].model,
        joint.logits,
        joint.directions,
        jobs[0].arithmetic,
        share_primals=all(job.share_primals for job in jobs),
        share_trunk=all(job.share_trunk for job in jobs),
        tails=joint.tails(),
    ).run(list(joint.owners), joint.take, modes=joint.modes, served=joint.served)


class _Joint:
    """Several jobs, their batches and directions numbered one after another."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        """Number them; a batch of several jobs is one, and so is its baseline."""
        self._jobs = jobs
        self._sinks = [job.sink() for job in jobs]
        self.logits: list[Callable[[], Tensor]] = []
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
        found: dict[int, Tail] = {}
        for batch in range(len(self.logits)):
            tails = list(self._tails_of(batch))
            if all(tail is not None for tail in tails):
                first, *others = [tail for tail in tails if tail is not None]
                common = first.sites.intersection(*(tail.sites for tail in others))
                found[batch] = replace(first, sites=common)
        return found

    def _tails_of(self, batch: int) -> Iterator[Tail | None]:
        for job, batches in zip(self._jobs, self._batches, strict=True):
            if batch in batches:
                yield job.tails.get(batches.index(batch))

    def _batch(self, run: Callable[[], Tensor]) -> int:
        for number, known in enumerate(self.logits):
            if known is run:
                return number
        self.logits.append(run)
        return len(self.logits) - 1

    def _renumbered(self, member: int, own: Evaluation) -> Evaluation:
        batch = self._batches[member][own.batch]
        if own.direction is None:
            return replace(own, batch=batch)
        return replace(own, batch=batch, direction=self.directions.offsets[member] + own.direction)
