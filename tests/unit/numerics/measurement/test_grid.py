"""The series of round radii around a crossing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_linearity.numerics.measurement.grid import grid_around


@pytest.mark.parametrize(
    ("crossing", "radii"),
    [
        (1.0, (0.3, 1.0, 3.0, 10.0)),
        (0.99999, (0.1, 0.3, 1.0, 3.0)),
        (3.0, (1.0, 3.0, 10.0, 30.0)),
        (9.99, (1.0, 3.0, 10.0, 30.0)),
        (4.2e-5, (1e-5, 3e-5, 1e-4, 3e-4)),
        (1e-4, (3e-5, 1e-4, 3e-4, 1e-3)),
    ],
)
def test_two_below_and_two_above(crossing: float, radii: tuple[float, ...]) -> None:
    assert grid_around(crossing) == radii


@given(st.floats(1e-250, 1e250))
def test_any_crossing_lies_between_the_second_and_the_third(crossing: float) -> None:
    first, second, third, fourth = grid_around(crossing)
    assert first < second <= crossing < third < fourth
    # Spelled in one digit, as ids of tests are.
    assert all(str(r).lstrip("0.")[0] in "13" for r in (first, second, third, fourth))
