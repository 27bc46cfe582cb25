"""The engine's own tangent rules against torch's forward mode."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional

from pytest_linearity.numerics.lockstep import rules
from pytest_linearity.numerics.lockstep.dual import make_dual, unpack_dual
from pytest_linearity.numerics.lockstep.rules import DualRules

SHAPES = [((3, 4, 5), (3, 4, 5)), ((3, 4, 5), (3, 1, 5)), ((4, 5), (3, 4, 5)), ((3, 4, 5), ())]

Run = Callable[[Tensor, Tensor], Tensor]


def _both(run: Run, *shapes: tuple[int, ...], duals: tuple[bool, ...]) -> list[tuple[Tensor, ...]]:
    """(primal, tangent) by the rules and by torch alone."""
    outcomes = []
    for with_rules in (True, False):
        torch.manual_seed(3)
        with torch.no_grad(), forward_ad.dual_level():
            operands = []
            for shape, dual in zip(shapes, duals, strict=True):
                value, tangent = torch.randn(2, *shape, dtype=torch.float64)
                operands.append(make_dual(value, tangent) if dual else value)
            if with_rules:
                with DualRules():
                    result = run(*operands)
            else:
                result = run(*operands)
            primal, tangent = unpack_dual(result)
            assert tangent is not None
            outcomes.append((primal.clone(), tangent.clone()))
    return outcomes


def _agree(outcomes: list[tuple[Tensor, ...]]) -> None:
    (primal, tangent), (expected, expected_tangent) = outcomes
    assert torch.equal(primal, expected)
    # The same products in another order: a few units in the last place.
    torch.testing.assert_close(tangent, expected_tangent, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("duals", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("run", [lambda a, b: a * b, torch.mul, lambda a, b: a + b, torch.add])
def test_products_and_sums(
    run: Run, shapes: tuple[tuple[int, ...], ...], duals: tuple[bool, bool]
) -> None:
    _agree(_both(run, *shapes, duals=duals))


@pytest.mark.parametrize(
    "run",
    [
        lambda a: a * 0.125,
        lambda a: 3 * a,
        lambda a: a + 1e-6,
        lambda a: torch.add(a, a.detach(), alpha=0.5),
        lambda a: functional.softmax(a, dim=-1),
        lambda a: functional.softmax(a, dim=1, dtype=torch.float64),
        lambda a: torch.softmax(a, 0),
        lambda a: a.softmax(dim=-1),
        lambda a: functional.softmax(a, -1, 3, torch.float64),
    ],
)
def test_scalars_and_softmax(run: Callable[[Tensor], Tensor]) -> None:
    _agree(_both(run, (3, 4, 5), duals=(True,)))  # type: ignore[arg-type]


def test_a_sum_does_not_share_its_tangent() -> None:
    """In-place changes of a sum must leave the tangent of its term alone."""
    with torch.no_grad(), forward_ad.dual_level(), DualRules():
        a = make_dual(torch.ones(4), torch.ones(4))
        total = a + torch.ones(4)
        total *= 5.0
        assert torch.equal(unpack_dual(a)[1], torch.ones(4))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("dtype", "second"),
    [
        (torch.float32, torch.ones(3, dtype=torch.float64)),
        (torch.float32, torch.ones(3, dtype=torch.int64)),
        (torch.float32, 2j),
        (torch.float32, True),
        (torch.float32, torch.nn.Parameter(torch.ones(3))),
    ],
)
def test_what_may_change_the_dtype_is_left_to_torch(dtype: torch.dtype, second: object) -> None:
    with torch.no_grad(), forward_ad.dual_level():
        dual = make_dual(torch.ones(3, dtype=dtype), torch.ones(3, dtype=dtype))
        for rule in (rules._product, rules._sum):
            assert rule(dual, second) is NotImplemented
            assert rule(second, dual) is NotImplemented


def test_a_softmax_in_another_dtype_is_left_to_torch() -> None:
    with torch.no_grad(), forward_ad.dual_level():
        dual = make_dual(torch.ones(2), torch.ones(2))
        assert rules._softmax(dual, 0, dtype=torch.float64) is NotImplemented
        assert rules._softmax(dual, 0, dtype=torch.float32) is not NotImplemented


def test_constants_are_left_to_torch() -> None:
    with forward_ad.dual_level():
        assert rules._product(torch.ones(2), torch.ones(2)) is NotImplemented
        assert rules._sum(torch.ones(2), 1.0) is NotImplemented
        assert rules._softmax(torch.ones(2), 0) is NotImplemented
