"""What must not be taken for the trunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pytest_linearity import Directions, measure
from pytest_linearity.numerics.lockstep.evaluation import Evaluation
from pytest_linearity.numerics.lockstep.scheduler import Lockstep
from pytest_linearity.numerics.lockstep.trunk import TrunkMismatch
from pytest_linearity.numerics.precision import Arithmetic
from tests.support.oracle import brute_force

CPU = torch.device("cpu")
ALL = [Evaluation(0), Evaluation(0, 0), Evaluation(0, 0, 0.3), Evaluation(0, 1, 0.3)]


class Outside(torch.autograd.Function):
    """Doubles a copy of its input where torch does not see it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, memory: Callable[[Tensor], Any]) -> Tensor:
        y = x.clone()
        view = memory(y)
        view *= 2
        return y


class Net(nn.Module):
    """Two layers, and something between them; the second is what is perturbed."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 5)
            self.register_buffer("x", torch.randn(3, 4))
        self.between = between

    def forward(self) -> Tensor:
        return self.second(self.between(self.first(self.x))).tanh()


@pytest.mark.parametrize(
    "memory",
    [Tensor.numpy, Tensor.__array__, torch.from_dlpack],
    ids=["numpy", "array", "dlpack"],
)
def test_memory_that_is_written_to_outside_of_torch_is_not_shared(
    memory: Callable[[Tensor], Any],
) -> None:
    """Were it shared, every evaluation would double it once more."""
    model = Net(lambda h: Outside.apply(h, memory))
    directions, radii = Directions(model, 2, scope="regex:second"), (0.1, 1.0)
    result = measure(model, model, directions, radii, "float64")
    plain = Net(lambda h: 2 * h)
    deltas = [{n: directions.tensor(k, n) for n in directions.names} for k in range(2)]
    truth = brute_force(plain, lambda m: m(), deltas, radii)
    torch.testing.assert_close(
        result.relative_error, truth.relative_error(radii), rtol=1e-8, atol=0
    )


@contextmanager
def _unseen() -> Iterator[None]:
    """No function mode sees what is called in here."""
    modes = [
        torch._C._pop_torch_function_stack() for _ in range(torch._C._len_torch_function_stack())
    ]
    try:
        yield
    finally:
        for mode in reversed(modes):
            torch._C._push_on_torch_function_stack(mode)


@pytest.mark.parametrize("scope", ["regex:second.weight", "regex:second.bias"])
def test_a_parameter_that_is_used_unseen_ends_the_trunk(scope: str) -> None:
    class Hiding(Net):
        def forward(self) -> Tensor:
            h = self.first(self.x)
            with _unseen():
                h = functional.linear(h, self.second.weight, self.second.bias)
            return h.tanh()

    model = Hiding(lambda h: h)
    engine = Lockstep(
        model, [model], Directions(model, 2, scope=scope), Arithmetic(torch.float64, CPU)
    )
    with pytest.raises(TrunkMismatch, match=r"second\.weight was used where"):
        engine.run(ALL, lambda evaluation, output: None)
