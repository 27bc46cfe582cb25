"""Which passes a measurement takes: arithmetic, derivatives and second derivatives of each."""

from __future__ import annotations

import pytest

from pytest_linearity.numerics.derivatives import dual_step, steps
from pytest_linearity.numerics.lockstep.evaluation import Evaluation
from pytest_linearity.numerics.measurement.schedule import Wanted, evaluations_of, passes_of

RADII = (0.1, 0.01, 1.0)
KS = (0, 2)
H = dual_step(0.01)


@pytest.mark.parametrize(
    ("coarse", "second_order", "difference", "expected"),
    [
        ((), False, None, [Wanted(True, KS, RADII, True)]),
        (RADII, False, None, [Wanted(False, KS, RADII, True)]),
        (
            (0.1, 1.0),
            False,
            None,
            [Wanted(True, KS, (0.01,), True), Wanted(False, KS, (0.1, 1.0), False)],
        ),
        ((), True, None, [Wanted(True, KS, RADII, True, curvature=H)]),
        (
            RADII,
            True,
            None,
            [Wanted(False, KS, RADII, True), Wanted(True, KS, (), False, curvature=H)],
        ),
        (
            (0.1, 1.0),
            True,
            None,
            [
                Wanted(True, KS, (0.01,), True, curvature=H),
                Wanted(False, KS, (0.1, 1.0), False),
            ],
        ),
        (
            RADII,
            True,
            0.3,
            [Wanted(True, KS, (), True, difference=0.3), Wanted(False, KS, RADII, False)],
        ),
        ((), False, 0.3, [Wanted(True, KS, RADII, True, difference=0.3)]),
    ],
    ids=[
        "float64",
        "float32",
        "either",
        "second derivatives in float64",
        "second derivatives beside float32",
        "second derivatives with either",
        "differences beside float32",
        "differences in float64",
    ],
)
def test_passes(
    coarse: tuple[float, ...],
    second_order: bool,
    difference: float | None,
    expected: list[Wanted],
) -> None:
    passes = passes_of(
        (2, 0),
        RADII,
        coarse,
        second_order=second_order,
        difference=difference,
    )
    assert passes == expected
    assert sum(wanted.derivatives for wanted in passes) == 1
    assert sorted(r for wanted in passes for r in wanted.radii) == sorted(RADII)


@pytest.mark.parametrize("coarse", [RADII, (0.1, 1.0), ()])
@pytest.mark.parametrize("second_order", [False, True])
def test_derivatives_are_exact_where_they_must_be(
    coarse: tuple[float, ...], second_order: bool
) -> None:
    first, *rest = passes_of(KS, RADII, coarse, second_order=second_order, only_exact=True)
    wide = tuple(radius for radius in RADII if radius not in coarse)
    assert first == Wanted(True, KS, wide, True, curvature=H if second_order else None)
    assert rest == ([Wanted(False, KS, coarse, False)] if coarse else [])


@pytest.mark.parametrize("wanted", passes_of((3,), RADII, (0.1,), second_order=True))
def test_as_many_evaluations_as_are_counted(wanted: Wanted) -> None:
    evaluations = list(evaluations_of(1, wanted.directions, wanted))
    assert evaluations[0] == Evaluation(1)
    assert len(evaluations) == 1 + wanted.per_direction
    assert sum(e.is_jvp for e in evaluations) == wanted.duals


def test_central_differences_take_the_steps_instead_of_a_jvp() -> None:
    wanted = Wanted(True, (0,), RADII, derivatives=True, difference=0.3)
    evaluations = list(evaluations_of(0, (0,), wanted))
    assert {e.step for e in evaluations[1:]} == {*RADII, *steps(0.3)}
    assert not any(e.is_jvp for e in evaluations)


def test_known_derivatives_take_neither() -> None:
    wanted = Wanted(True, (0,), RADII, derivatives=False, difference=0.3)
    assert len(list(evaluations_of(0, (0,), wanted))) == 1 + len(RADII)
