"""Kinds of directions with radii, limits and crossings of their own."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from pytest_linearity.numerics.directions.directions import Directions
from pytest_linearity.numerics.directions.vectors.tensors import TensorVector
from pytest_linearity.numerics.measurement.limits import Limits
from pytest_linearity.numerics.measurement.measure import measure_with
from pytest_linearity.numerics.measurement.measurement import Measurement
from pytest_linearity.numerics.measurement.setup import Setup

STEEP, FLAT = 40.0, 0.5


class Ridge(nn.Module):
    """f_i(w) = (w_i, b_i w_i²): along axis i, ε = b r / √(1 + b² r²), at any radius."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def forward(self) -> Tensor:
        return torch.cat([self.w, torch.tensor([STEEP, FLAT]) * self.w**2])[None]


def measured(
    radii: dict[str, list[float]], limits: Limits | None = None, *, refined: bool = False
) -> Measurement:
    model = Ridge()
    axes = {
        name: TensorVector(name, "", {"w": torch.eye(2, dtype=torch.float64)[i]})
        for i, name in enumerate(["steep", "flat"])
    }
    directions = Directions(model, 1, kinds=list(radii), vectors=axes)
    setup = Setup(model, [model], directions, torch.device("cpu"), "float64")
    every = sorted({radius for of_kind in radii.values() for radius in of_kind})
    return measure_with(setup, every, radii_by_kind=radii, limits=limits, refined=refined)


def error(bend: float, radius: float) -> float:
    return bend * radius / math.sqrt(1 + (bend * radius) ** 2)


def crossing(bend: float, limit: float) -> float:
    return limit / (bend * math.sqrt(1 - limit**2))


def test_each_is_measured_at_its_own_radii_only() -> None:
    found = measured({"steep": [0.01], "flat": [0.1, 1.0]})
    assert found.radii == (0.01, 0.1, 1.0)
    expected = [[error(STEEP, 0.01), math.nan]]
    expected += [[math.nan, error(FLAT, radius)] for radius in (0.1, 1.0)]
    torch.testing.assert_close(
        found.relative_error[..., 0], torch.tensor(expected).double(), equal_nan=True
    )
    # Each takes a baseline, a JVP, and a forward per radius.
    assert found.evaluations == (1 + 1 + 1) + (1 + 1 + 2)
    assert found.rows_at(0.01) == {"steep": [0]}
    assert found.rows_at(1.0) == {"flat": [1]}


def test_of_one_kind_is_what_is_measured_alone() -> None:
    radii = {"steep": [0.01], "flat": [0.1, 1.0]}
    found = measured(radii)
    for kind, own in radii.items():
        alone, apart = measured({kind: own}), found.of_kind(kind)
        assert apart.radii == alone.radii
        assert apart.kinds == alone.kinds == (kind,)
        assert apart.noise_floor == pytest.approx(alone.noise_floor, rel=1e-6)
        for name, values in alone.figures.items():
            torch.testing.assert_close(apart.figures[name], values)
    assert not found.of_kind("flat").figures["relative_error"].isnan().any()


def test_kinds_of_the_same_radii_share_a_baseline() -> None:
    together = measured({"steep": [0.01, 0.1], "flat": [0.01, 0.1]})
    assert together.evaluations == 1 + 2 * (1 + 2)
    assert not together.relative_error.isnan().any()


def test_each_has_a_crossing_of_its_own() -> None:
    found = measured({"steep": [1e-4, 0.1], "flat": [0.1, 10.0]}, Limits(0.2, -1.0), refined=True)
    for kind, bend in (("steep", STEEP), ("flat", FLAT)):
        bracket = found.by_kind[kind].refinement
        assert bracket is not None
        assert bracket.low <= crossing(bend, 0.2) <= bracket.high <= 1.05 * bracket.low
    assert found.refinement == found.by_kind["steep"].refinement  # the smallest


def test_each_keeps_limits_of_its_own() -> None:
    limits = Limits(None, -1.0, by_kind={"steep": Limits(0.5, -1.0), "flat": Limits(0.1, -1.0)})
    found = measured({"steep": [1e-4, 0.1], "flat": [0.1, 10.0]}, limits, refined=True)
    for kind, bend, limit in (("steep", STEEP, 0.5), ("flat", FLAT, 0.1)):
        bracket = found.by_kind[kind].refinement
        assert bracket is not None
        assert bracket.low <= crossing(bend, limit) <= bracket.high


def test_there_is_no_first_crossing_where_a_kind_complies_nowhere() -> None:
    found = measured({"steep": [0.1, 1.0], "flat": [0.1, 10.0]}, Limits(0.2, -1.0), refined=True)
    assert found.refinement is None
    assert found.by_kind["steep"].refinement is None
    assert found.by_kind["flat"].refinement is not None


def test_facts_follow_into_another_unit_and_other_radii() -> None:
    found = measured({"steep": [1e-4, 0.1], "flat": [0.1, 10.0]}, Limits(0.2, -1.0), refined=True)
    doubled = found.in_unit([2 * radius for radius in found.radii])
    assert doubled.by_kind["flat"].radii == (0.2, 20.0)
    before, after = (one.by_kind["flat"].refinement for one in (found, doubled))
    assert before is not None
    assert after is not None
    assert after.low == pytest.approx(2 * before.low)
    assert found.at([0.1]).by_kind["flat"].radii == (0.1,)
    assert found.at([10.0]).by_kind["steep"].radii == ()
    assert replace(found, by_kind={}).rows_at(10.0) == {"steep": [0], "flat": [1]}


class Rounded(nn.Module):
    """Float32 logits that move a hundred times as far along one axis as along the other."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.3, 0.7]))

    def forward(self) -> Tensor:
        return torch.cat([torch.sin(100 * self.w[:1]), self.w[1:] + 0.3 * self.w[1:] ** 2])[None]


def rounded(precision: str, limits: Limits | None = None) -> Measurement:
    model = Rounded()
    axes = {name: TensorVector(name, "", {"w": torch.eye(2)[i]}) for i, name in enumerate("ab")}
    directions = Directions(model, 1, kinds=["a", "b"], vectors=axes)
    setup = Setup(model, [model], directions, torch.device("cpu"), precision)
    return measure_with(setup, [0.01], limits=limits)


def test_the_noise_floor_is_that_of_the_kind() -> None:
    found = rounded("float32")
    floors = [facts.noise_floor[0] for facts in found.by_kind.values()]
    assert None not in floors
    far, near = (floor or 0 for floor in floors)
    assert 0 < 10 * far < near
    assert found.noise_floor[0] == pytest.approx((far + near) / 2)
    assert found.of_kind("b").noise_floor == (near,)


def test_rounding_may_decide_about_the_own_limit_of_a_kind() -> None:
    """A limit that the mean of one kind all but meets asks for float64, and only that one."""
    means = rounded("float64").relative_error.mean(dim=(0, 2)).tolist()
    far = Limits(10.0, -1.0)
    at = {kind: Limits(mean, -1.0) for kind, mean in zip("ab", means, strict=True)}
    assert rounded("auto", Limits(10.0, -1.0)).precision == ("float32",)
    for kind, other in ("ab", "ba"):
        limits = Limits(10.0, -1.0, by_kind={kind: at[kind], other: far})
        assert rounded("auto", limits).precision == ("float64",), kind
    swapped = Limits(10.0, -1.0, by_kind={"a": at["b"], "b": at["a"]})
    assert rounded("auto", swapped).precision == ("float32",)


class Dead(Ridge):
    """A ridge of whose axes the second leads nowhere."""

    def forward(self) -> Tensor:
        return torch.cat([self.w[:1], self.w[:1] ** 2 + 0 * self.w[1:]])[None]


def test_a_kind_is_still_by_itself() -> None:
    model = Dead()
    axes = {
        name: TensorVector(name, "", {"w": torch.eye(2, dtype=torch.float64)[i]})
        for i, name in enumerate(["alive", "dead"])
    }
    directions = Directions(model, 1, kinds=["alive", "dead"], vectors=axes)
    setup = Setup(model, [model], directions, torch.device("cpu"), "float64")
    found = measure_with(setup, [0.1])
    assert found.still == (False,)
    assert found.by_kind["alive"].still == (False,)
    assert found.by_kind["dead"].still == found.of_kind("dead").still == (True,)
