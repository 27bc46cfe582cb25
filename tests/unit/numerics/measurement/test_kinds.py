"""Directions of several kinds: closed forms, and a verdict on one that rounding could turn."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pytest_linearity import Directions, Measurement, measure
from pytest_linearity.config.config import Config
from pytest_linearity.numerics.directions.vectors.tensors import TensorVector
from pytest_linearity.numerics.measurement.limits import Limits
from pytest_linearity.verdict.findings import Findings


class Quadratic(nn.Module):
    """Logits a·w + q (b·w)², whose ε along δ is known: see the test."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.w = nn.Parameter(torch.randn(40, generator=generator, dtype=torch.float64))
        self.a = torch.randn(40, generator=generator, dtype=torch.float64)
        self.b = torch.randn(40, generator=generator, dtype=torch.float64)

    def forward(self) -> Tensor:
        square = (self.w * self.b).sum() ** 2
        return torch.stack([(self.w * self.a).sum(), square])[None]


def test_each_kind_has_its_closed_form() -> None:
    model = Quadratic()
    vector = TensorVector("mine", "", {"w": model.b})
    directions = Directions(
        model, 2, kinds=["rademacher", "mine", "-mine"], vectors={"mine": vector}
    )
    radius = 0.7
    measured = measure(model, model, directions, [radius], "float64")
    assert measured.kinds == ("rademacher", "rademacher", "mine", "-mine")
    for k in range(4):
        delta = directions.tensor(k, "w").double()
        slope = 2 * (model.w @ model.b) * (model.b @ delta)
        bend = (model.b @ delta) ** 2
        true = torch.stack([radius * (model.a @ delta), radius * slope + radius**2 * bend])
        expected = float((radius**2 * bend / true.norm()).detach())
        assert float(measured.relative_error[0, k, 0]) == pytest.approx(expected, rel=1e-6)


class TestRoundingOfOneKind:
    """A verdict on one kind that rounding could turn is settled, whatever the mean over all is."""

    def run(self, relative_error: float, precision: str = "auto") -> Measurement:
        generator = torch.Generator().manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 5))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        x = torch.randn(3, 8, generator=generator)
        directions = Directions(model, 1, kinds=["gaussian", "filterwise"])
        limits = Limits(relative_error, -1.0)
        return measure(model, lambda: model(x), directions, [3.0], precision, limits=limits)

    def test_in_the_measurement(self) -> None:
        errors = self.run(10.0, "float64").relative_error[0].mean(dim=-1)
        assert abs(errors[0] - errors[1]) > 0.01
        assert self.run(10.0).precision == ("float32",)
        for kind in range(2):
            assert self.run(float(errors[kind]) * (1 + 1e-9)).precision == ("float64",)

    def test_in_the_cache(self) -> None:
        from pytest_linearity.run.store.cache import _decides

        measured = self.run(10.0)
        errors = measured.relative_error[0].mean(dim=-1)
        findings = Findings(measured, {}, {}, {}, {})
        for limit, decided in ((9.0, True), *((float(error), False) for error in errors)):
            config = Config(
                model_name_or_path="m", radii=[3.0], relerr_threshold=limit, cos_threshold=-1
            )
            assert _decides(findings, config) is decided
