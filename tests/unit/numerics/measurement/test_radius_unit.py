"""Relative radii: the steps that they are, and back again."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from pytest_linearity import Directions, measure
from pytest_linearity.errors import ConfigError
from pytest_linearity.numerics.measurement.measurement import Refinement
from pytest_linearity.numerics.measurement.radius_unit import absolute_radii


@pytest.mark.parametrize("norm", [0.0, 1e300, math.inf, 1e-320])
def test_a_norm_that_gives_no_step_is_refused(norm: float) -> None:
    with pytest.raises(ConfigError, match=r"^radius_unit: relative: 1.* of the norm .* no step"):
        absolute_radii([1e-10, 1e10], "relative", norm)


def test_what_is_measured_in_radii_is_converted() -> None:
    torch.manual_seed(0)
    x = torch.ones(1, 3, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    measured = measure(
        model,
        lambda: model(x),
        Directions(model, 1),
        [0.5, 2.0],
        "float64",
        second_order=True,
    )
    bracket = Refinement(0.5, 0.75, (1.0, 0.75))
    converted = replace(measured, refinement=bracket).in_unit([0.1, 0.4])
    assert converted.radii == (0.1, 0.4)
    assert measured.curvature_ratio is not None
    assert converted.curvature_ratio is not None
    # κr is a number without unit.
    torch.testing.assert_close(converted.curvature_ratio * 0.4, measured.curvature_ratio * 2.0)
    assert converted.refinement is not None
    assert converted.refinement.low == 0.1  # exactly the tested radius
    assert converted.refinement.high == pytest.approx(0.15)
    assert converted.refinement.evaluated == pytest.approx((0.2, 0.15))
