"""Tolerance bounds against the published table, and against what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_linearity.verdict.tolerance import tolerance_factor, upper_bound


@pytest.mark.parametrize(
    ("count", "factor"), [(2, 26.260), (3, 7.656), (5, 4.203), (10, 2.911), (30, 2.220)]
)
def test_factors_are_those_of_the_table(count: int, factor: float) -> None:
    """Hahn and Meeker, table A.12d, p = γ = 0.95."""
    assert tolerance_factor(count) == pytest.approx(factor, abs=2e-3)


@pytest.mark.parametrize("count", [3, 8])
def test_a_bound_covers_what_it_promises(count: int) -> None:
    """Over many samples the share of bounds above the true quantile is the confidence."""
    chance = np.random.default_rng(0)
    samples = np.exp(chance.normal(-4.0, 0.3, (4000, count)))
    quantile = np.exp(-4.0 + 0.3 * 1.2815515655446004)  # 90% of all lie below
    held = [upper_bound(sample.tolist(), 0.9, 0.8).limit >= quantile for sample in samples]
    # 4000 trials have a standard deviation of 0.6%.
    assert np.mean(held) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("values", [[], [0.1], [0.1, 0.0], [0.1, float("nan")]])
def test_what_has_no_bound(values: list[float]) -> None:
    with pytest.raises(ValueError, match="two values or more"):
        upper_bound(values)
