"""The operations that a forecast counts are those that the engine takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pytest_linearity import Directions
from pytest_linearity.numerics.lockstep.products import FEW_ROWS
from pytest_linearity.numerics.lockstep.scheduler import Lockstep
from pytest_linearity.numerics.measurement.schedule import Wanted, evaluations_of, passes_of
from pytest_linearity.numerics.precision import Arithmetic
from pytest_linearity.plan.effort import work_of
from pytest_linearity.plan.forward import Forward, Linear
from pytest_linearity.plan.stages import stage_of
from pytest_linearity.plan.workload import BatchSize

INPUTS, OUTPUTS = 6, 10


class Layer(nn.Module):
    """A linear layer on so many rows, behind a parameter that ends the trunk."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(INPUTS))
        self.matrix = nn.Linear(INPUTS, OUTPUTS, bias=False)
        self.x = torch.randn(rows, INPUTS)

    def forward(self) -> Tensor:
        return self.matrix(self.x * self.scale)


@contextmanager
def one_thread() -> Iterator[None]:
    """The counter sees its own thread alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _flops(total: torch.Size, x: torch.Size, w: torch.Size, **_: object) -> int:
    """Of an addition to `total` in place, which torch does not count by itself."""
    return 2 * x[0] * x[1] * w[1]


@pytest.mark.parametrize("rows", [4, FEW_ROWS, FEW_ROWS + 1])
@pytest.mark.parametrize("scope", ["full", "regex:scale"])
@pytest.mark.parametrize("wanted", passes_of(range(3), (0.1, 1.0), (1.0,), second_order=True))
def test_operations_are_those_of_the_engine(rows: int, scope: str, wanted: Wanted) -> None:
    layer = Layer(rows)
    directions = Directions(layer, 3, scope=scope)
    arithmetic = Arithmetic(torch.float64, torch.device("cpu"))
    engine = Lockstep(layer, [layer, layer], directions, arithmetic)
    evaluations = [e for batch in (0, 1) for e in evaluations_of(batch, range(3), wanted)]
    added = {torch.ops.aten.addmm_: _flops}
    with one_thread(), FlopCounterMode(display=False, custom_mapping=added) as counter:
        engine.run(evaluations, lambda evaluation, output: None)
    forward = Forward((Linear("matrix.weight", INPUTS, OUTPUTS, 1.0, False),), "scale")
    batches = [BatchSize(1, rows)] * 2
    names = frozenset(directions.names)
    (work,) = work_of(stage_of(wanted, 1), forward, [names], batches, 3, 0)
    assert work.flops == counter.get_total_flops()
