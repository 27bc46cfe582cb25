"""The plan of a run: what it evaluates, computes and reads, and what memory and time it takes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from pytest_linearity.errors import CheckpointError, one_line
from pytest_linearity.numerics.scope.match import match_scope
from pytest_linearity.numerics.scope.parse import parse_scope
from pytest_linearity.plan.duration import Clock
from pytest_linearity.plan.effort import work_of
from pytest_linearity.plan.forward import follow
from pytest_linearity.plan.machine import Machine
from pytest_linearity.plan.memory import Holding, holding_of, looked_up, peak_of, slices
from pytest_linearity.plan.skeleton import blocks_of, placed, skeleton
from pytest_linearity.plan.stages import Stage, refinements, stages_of
from pytest_linearity.plan.workload import BatchSize, Workload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_linearity.config.config import Config
    from pytest_linearity.plan.model import PlannedModel

_MOST_TOKENS = 512
"""Of a batch whose memory is looked at; more take as much more as they are more."""


@dataclass(frozen=True)
class Case:
    """What a run takes if it goes one way."""

    precision: str
    """Arithmetic of the radii: `float32`, `float64`, or `float32, then float64`."""
    directions: int
    """How many directions of each scope are measured."""
    evaluations: int
    """Forwards of one batch each, on all ranks together; calibration left out."""
    flops: float
    """Floating-point operations of all linear layers on all ranks together."""
    bytes_read: int
    """Bytes of the checkpoint that one rank reads, loading and calibration included."""
    peak_memory: int
    """Bytes of private memory of one rank at its peak; the mapped checkpoint is not in it."""
    seconds: float | None
    """Of measuring, calibration included, on the slowest rank; None if it was not asked for."""


@dataclass(frozen=True)
class Plan:
    """All ways that a run may go."""

    architecture: str
    """Class of the model."""
    parameters: int
    """Its parameters, a tied one counted once."""
    stored_bytes: int
    """Of the checkpoint."""
    dtype: str
    """Of the checkpoint."""
    at_hand: bool
    """Whether the checkpoint is there, or only its config."""
    scopes: dict[str, int]
    """Parameters in each scope."""
    prompts: int
    """How many prompts."""
    tokens: int
    """Of all prompts together, padding included."""
    assumed_prompts: bool
    """Whether these two are assumed."""
    shared_prefix: int
    """Tokens that all prompts share and that are evaluated once."""
    ranks: int
    """How many processes share the directions."""
    device: str
    """The device of each of them."""
    more_radii: int
    """How many radii `refine` may add; not in the cases."""
    cases: tuple[Case, ...]
    """The least that the run takes first, the most last; one where that is known beforehand."""

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


class Planner:
    """Makes the plan of one run."""

    def __init__(
        self,
        config: Config,
        subject: PlannedModel,
        workload: Workload,
        *,
        ranks: int,
        device: torch.device,
        base: int,
    ) -> None:
        """Follow the model's forward once.

        Args:
            config: What to measure.
            subject: The model.
            workload: The batches.
            ranks: How many processes share the directions.
            device: That of each.
            base: Private bytes of a process that has imported everything.

        Raises:
            CheckpointError: If the model's forward does not run.
            ConfigError: If a scope holds nothing.
        """
        self._config, self._subject, self._workload = config, subject, workload
        self._ranks, self._device, self._base = ranks, device, base
        names = config.param_scopes or (config.param_scope,)
        self._matches = [match_scope(subject.model, parse_scope(name)) for name in names]
        self._scopes = [frozenset(match.names) for match in self._matches]
        try:
            self._forward = follow(subject.model)
        except Exception as error:  # whatever the forward raises
            raise CheckpointError(
                f"{subject.place}: its forward does not run: {one_line(error)}"
            ) from error

    def plan(self, *, timed: bool) -> Plan:
        """The plan.

        Args:
            timed: Whether this machine's rates are measured, which takes some seconds.
        """
        subject, workload = self._subject, self._workload
        clock = self._clock() if timed else None
        counts = sorted({self._config.sampling.counts[0], self._config.sampling.most})
        narrow, wide = torch.float32, torch.float64
        ways = {
            "float32": [[narrow]],
            "float64": [[wide]],
            "auto": [[narrow], [narrow, wide]],
        }[self._config.precision]
        cases = [self._case(dtypes, count, clock) for count in counts for dtypes in ways]
        cases = [cases[0], cases[-1]] if len(cases) > 1 else cases
        return Plan(
            architecture=type(subject.model).__name__,
            parameters=subject.parameters,
            stored_bytes=subject.stored.bytes,
            dtype=subject.stored.dtype,
            at_hand=subject.at_hand,
            scopes={match.text: match.parameters for match in self._matches},
            prompts=workload.prompts,
            tokens=workload.tokens,
            assumed_prompts=workload.assumed,
            shared_prefix=workload.prefix,
            ranks=self._ranks,
            device=str(self._device),
            more_radii=refinements(self._config),
            cases=tuple(cases),
        )

    def _case(self, dtypes: Sequence[torch.dtype], count: int, clock: Clock | None) -> Case:
        """One way: all radii in the first arithmetic, then, if there is one, in the second."""
        config, workload, scopes = self._config, self._workload, len(self._scopes)
        stages = [
            stage
            for dtype in dtypes
            for stage in stages_of(config, dtype, count, scopes, self._ranks)
        ]
        # What all ranks do together: each has baselines of its own.
        whole = [stage for dtype in dtypes for stage in stages_of(config, dtype, count, scopes, 1)]
        more, widest = self._ranks - 1, self._forward.widest()
        baselines = more * len(whole) * len(workload.batches)
        return Case(
            precision=", then ".join(str(dtype).removeprefix("torch.") for dtype in dtypes),
            directions=sum(stage.directions for stage in whole if stage.derivatives) // len(dtypes),
            evaluations=sum(stage.evaluations(workload, widest) for stage in whole) + baselines,
            flops=sum(map(self._flops, whole)) + more * sum(map(self._baseline_flops, whole)),
            bytes_read=self._passes(stages) * self._subject.stored.bytes,
            peak_memory=self._base + max(self._peak(stage) for stage in stages),
            seconds=None if clock is None else self._seconds(clock, stages),
        )

    def _flops(self, stage: Stage) -> float:
        return sum(
            work.flops
            for batches, directions in stage.rounds(self._workload, self._forward.widest())
            for work in work_of(
                stage, self._forward, self._scopes, batches, directions, self._workload.prefix
            )
        )

    def _baseline_flops(self, stage: Stage) -> float:
        alone = replace(stage, directions=1, radii=0, derivatives=False, curvature=False)
        return self._flops(alone)

    def _passes(self, stages: Sequence[Stage]) -> int:
        """How often the weights are read.

        Once when they are loaded, as they must be finite; once where it is found out whether the
        architecture looks at padding; for every scope twice to calibrate, in either arithmetic, and
        once for the norm of its parameters; and once in every round, for all scopes at once.
        """
        rounds = sum(
            1 for stage in stages for _ in stage.rounds(self._workload, self._forward.widest())
        )
        return 1 + self._workload.padded + len(self._scopes) * (2 + 1) + rounds

    def _peak(self, stage: Stage) -> int:
        largest = max(parameter.numel() for parameter in self._subject.model.parameters())
        vocabulary = self._forward.linears[-1].outputs if self._forward.linears else 1
        width = self._forward.linears[0].inputs if self._forward.linears else 1
        calibration = slices(torch.float64, self._device, largest)
        embedding = looked_up(self._workload.tokens, vocabulary, width)
        measuring = peak_of(
            stage, self._forward, self._holding, self._workload, self._device, largest
        )
        return max(calibration, embedding, measuring)

    @cached_property
    def _holding(self) -> Holding:
        batch = max(self._workload.batches, key=lambda batch: batch.tokens)
        length = min(batch.length, _MOST_TOKENS)
        prompts = max(1, min(batch.prompts, _MOST_TOKENS // length))
        return holding_of(self._sample(2), BatchSize(prompts, length))

    def _sample(self, blocks: int) -> torch.nn.Module:
        whole = blocks_of(self._subject.declared)
        if whole is None or whole <= blocks:
            return self._subject.model
        return skeleton(
            self._subject.declared,
            layers=blocks,
            trust_remote_code=self._config.trust_remote_code,
        )

    def _clock(self) -> Clock:
        whole = blocks_of(self._subject.declared) or 1
        samples = {n: placed(self._sample(n), self._device) for n in {1, min(2, whole)}}
        return Clock(
            Machine(self._device),
            self._forward,
            samples,
            whole,
            getattr(torch, self._subject.stored.dtype, torch.float32),
            self._scopes,
        )

    def _seconds(self, clock: Clock, stages: Sequence[Stage]) -> float:
        tails = any(use.in_tail for use in self._forward.linears)
        calibration = clock.calibration(torch.float64, tails=False)
        calibration += clock.calibration(torch.float32, tails=tails)
        check = clock.check() if self._workload.padded else 0.0
        measuring = sum(clock.stage(stage, self._workload) for stage in stages)
        return check + len(self._scopes) * calibration + measuring
