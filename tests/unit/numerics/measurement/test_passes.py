"""A round that fails for what its evaluations share is run again with less in common."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_linearity import Directions
from pytest_linearity.errors import MeasurementError
from pytest_linearity.numerics.calibration.calibration import Calibration, RoundingNoise
from pytest_linearity.numerics.lockstep.logits import Logits
from pytest_linearity.numerics.lockstep.prefix import PrefixMismatch, SharedPrefix
from pytest_linearity.numerics.lockstep.tail import Site, TailMismatch
from pytest_linearity.numerics.lockstep.trunk import TrunkMismatch
from pytest_linearity.numerics.measurement import schedule
from pytest_linearity.numerics.measurement.figures import PairStore
from pytest_linearity.numerics.measurement.jobs import Job
from pytest_linearity.numerics.measurement.passes import Pass
from pytest_linearity.numerics.measurement.schedule import Wanted
from pytest_linearity.numerics.measurement.setup import Setup
from pytest_linearity.numerics.precision import Arithmetic

SITE = Site("weight", 0, 0)
CALIBRATION = Calibration(
    share_primals=True,
    share_trunk=True,
    not_interleaved=None,
    changes_state=False,
    asks=True,
    selects=False,
    unsteady=False,
    tie=0.0,
    departure=0.0,
    widest=8,
    tail=frozenset([SITE]),
    step=None,
    no_forward_mode=None,
    only_exact=False,
    float32=RoundingNoise(0.0, 0.0),
    float64=RoundingNoise(0.0, 0.0),
    slope=1.0,
    curvature=1.0,
)
CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Whole:
    needed: Tensor = field(default_factory=lambda: torch.tensor([False, False, True]))

    @property
    def tokens(self) -> int:
        return len(self.needed)

    def __call__(self) -> Tensor:
        return torch.zeros(1, 2)


@dataclass(frozen=True, eq=False)
class Suffix(Whole):
    needed: Tensor = field(default_factory=lambda: torch.tensor([True]))
    prefix: SharedPrefix | None = None
    plain: Whole = field(default_factory=Whole)


class Failing:
    """An engine whose jobs fail, one after another, with these errors."""

    members = 1

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.jobs: list[Job] = []

    def run(self, job: Job) -> None:
        self.jobs.append(job)
        if self.errors:
            raise self.errors.pop(0)


def run(engine: Failing, batches: list[Logits], directions: int = 1) -> int:
    model = nn.Linear(4, 4)
    setup = Setup(model, batches, Directions(model, directions), CPU, engine=engine)
    wanted = Wanted(True, tuple(range(directions)), (0.1, 1.0), derivatives=True)
    figures = PairStore(len(batches), (), CALIBRATION.noise_floor)
    arithmetic = Arithmetic(torch.float64, CPU)
    return Pass(setup, CALIBRATION, arithmetic, wanted, figures, None).run(None)


def suffixes() -> tuple[list[Logits], SharedPrefix]:
    prefix = SharedPrefix(2, lambda prefix: None)
    return [Suffix(prefix=prefix), Suffix(prefix=prefix)], prefix


@pytest.mark.parametrize("error", [TrunkMismatch(), TailMismatch()])
def test_neither_trunk_nor_tail_where_one_of_them_fails(error: Exception) -> None:
    engine = Failing(error)
    assert run(engine, [Whole()]) == 2 * 4
    first, second = engine.jobs
    assert first.share_trunk
    assert first.tails[0].sites == {SITE}
    assert not second.share_trunk
    assert not second.tails
    assert second.evaluations == first.evaluations


def test_a_second_mismatch_is_an_error() -> None:
    with pytest.raises(TailMismatch):
        run(Failing(TrunkMismatch(), TailMismatch()), [Whole()])


def test_prompts_are_whole_where_their_prefix_fails() -> None:
    batches, prefix = suffixes()
    engine = Failing(PrefixMismatch("not there in time"))
    assert run(engine, batches) == 2 * 8
    first, second = engine.jobs
    assert list(first.logits) == batches
    assert [tail.needed.tolist() for tail in first.tails.values()] == [[True]] * 2
    assert list(second.logits) == [run.plain for run in batches if isinstance(run, Suffix)]
    assert [len(tail.needed) for tail in second.tails.values()] == [3, 3]
    assert second.share_trunk
    assert "PrefixMismatch: not there in time" in str(prefix.skipped)


def test_what_failed_once_is_not_shared_again() -> None:
    batches, _ = suffixes()
    engine = Failing(TailMismatch(), PrefixMismatch())
    assert run(engine, batches) == 3 * 8
    assert not engine.jobs[2].tails
    assert not engine.jobs[2].share_trunk


def test_nor_in_a_later_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "MEMORY_BUDGET", 1)
    engine = Failing(TrunkMismatch())
    assert run(engine, [Whole()], directions=2) == 3 * 4
    assert [job.share_trunk for job in engine.jobs] == [True, False, False]


@pytest.mark.parametrize(
    "error", [MeasurementError("no"), MemoryError(), torch.OutOfMemoryError(), ValueError("no")]
)
def test_other_errors_are_the_callers(error: Exception) -> None:
    batches, prefix = suffixes()
    with pytest.raises(type(error)):
        run(Failing(error), [Whole()] if isinstance(error, ValueError) else batches)
    assert prefix.skipped is None


def test_a_setup_needs_batches_and_a_precision_that_there_is() -> None:
    model = nn.Linear(2, 2)
    fine = Setup(model, [Whole()], Directions(model, 1), CPU)
    for wrong, message in (({"batches": ()}, "empty"), ({"precision": "half"}, "'half'")):
        changed: dict[str, Any] = dict(wrong)
        with pytest.raises(ValueError, match=message):
            replace(fine, **changed)
