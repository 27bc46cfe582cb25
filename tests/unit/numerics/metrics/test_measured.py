"""Metrics of a measurement: against brute force, and when their functions go wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_linearity import Directions, Measurement, Metric, find_metric, measure
from pytest_linearity.numerics.measurement.limits import Limits, undecided
from pytest_linearity.numerics.metrics.evaluate import evaluate, moved_by_rounding
from pytest_linearity.numerics.metrics.values import MetricValues
from pytest_linearity.verdict.radius import judge_radius
from tests.support.figures import metric_values
from tests.support.oracle import Truth, brute_force

BUILT_IN = [
    find_metric(name)
    for name in ("kl", "top1_agreement", "symmetric_relative_error", "top_3_relative_error")
]
RADII = (0.1, 1.0, 10.0)


class Network(nn.Module):
    """A small network in float32, with two batches of prompts."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(3)
        self.first, self.second = nn.Linear(5, 16), nn.Linear(16, 11)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=random) * 0.7)
        self.x = torch.randn(5, 5, generator=random)

    def logits(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x.to(self.first.weight.dtype))))

    def forward(self) -> Tensor:
        return self.logits(self.x)


def measured(metrics: list[Metric], radii: tuple[float, ...] = RADII, **more: Any) -> Measurement:
    model = Network()
    batches = [lambda: model.logits(model.x[:2]), lambda: model.logits(model.x[2:])]
    return measure(model, batches, Directions(model, 3, seed=1), radii, metrics=metrics, **more)


@pytest.fixture(scope="module")
def truth() -> Truth:
    model = Network()
    directions = Directions(model, 3, seed=1)
    deltas = [{n: directions.tensor(k, n) for n in directions.names} for k in range(3)]
    return brute_force(model, lambda m: m(), deltas, RADII)


def expected(truth: Truth, figure: Callable[[Tensor, Tensor, Tensor], float]) -> Tensor:
    """A figure of every (radius, direction, prompt), one after the other."""
    return torch.tensor(
        [
            [
                [
                    figure(truth.changes[i, k, p], r * truth.tangents[k, p], truth.baseline[p])
                    for p in range(5)
                ]
                for k in range(3)
            ]
            for i, r in enumerate(RADII)
        ],
        dtype=torch.float64,
    )


def kl(change: Tensor, predicted: Tensor, baseline: Tensor) -> float:
    p, q = (torch.distributions.Categorical(logits=baseline + d) for d in (change, predicted))
    return float(torch.distributions.kl_divergence(p, q))


def agreement(change: Tensor, predicted: Tensor, baseline: Tensor) -> float:
    return float(int((baseline + change).argmax()) == int((baseline + predicted).argmax()))


def symmetric(change: Tensor, predicted: Tensor, _: Tensor) -> float:
    return float((change - predicted).norm() / ((change.norm() + predicted.norm()) / 2))


def top3(change: Tensor, predicted: Tensor, baseline: Tensor) -> float:
    largest = sorted(range(11), key=lambda i: -float(baseline[i]))[:3]
    return float((change - predicted)[largest].norm() / change[largest].norm())


@pytest.mark.parametrize("precision", ["float64", "auto"])
def test_are_those_of_brute_force(precision: str, truth: Truth) -> None:
    measurement = measured(BUILT_IN, precision=precision)
    close = {"rtol": 1e-9, "atol": 1e-13} if precision == "float64" else {"rtol": 2e-2}
    for metric, figure in zip(BUILT_IN, (kl, agreement, symmetric, top3), strict=True):
        values = measurement.metrics[metric.name]
        assert values.shape == (3, 3, 5)
        torch.testing.assert_close(values, expected(truth, figure), **{"atol": 1e-6, **close})
    # The radii reach from agreement everywhere to hardly any.
    share = measurement.metrics["top1_agreement"].mean((1, 2))
    assert share[0] == 1.0
    assert share[-1] < 1.0


def test_change_no_other_figure() -> None:
    without, with_metrics = measured([]), measured(BUILT_IN)
    assert without.metrics == without.metric_noise == without.metric_failures == {}
    for name in ("relative_error", "cosine_similarity"):
        assert torch.equal(getattr(without, name), getattr(with_metrics, name))
    assert without.precision == with_metrics.precision


def test_the_two_old_ones_may_be_asked_for_as_well() -> None:
    measurement = measured([find_metric("relative_error"), find_metric("cosine_similarity")])
    assert torch.equal(measurement.metrics["relative_error"], measurement.relative_error)
    assert torch.equal(measurement.metrics["cosine_similarity"], measurement.cosine_similarity)


def test_radii_can_be_picked() -> None:
    whole = measured(BUILT_IN)
    picked = whole.at([10.0, 0.1])
    for name, values in picked.metrics.items():
        assert torch.equal(values, whole.metrics[name][[2, 0]])
        assert torch.equal(picked.metric_noise[name], whole.metric_noise[name][[2, 0]])
        assert picked.metric_failures[name] == (None, None)


def custom(function: Callable[..., Any], **fields: Any) -> Metric:
    return Metric(name="mine", label="my metric", about="what I want", function=function, **fields)


class TestFunction:
    def test_sees_changes_and_the_logits_at_the_checkpoint(self, truth: Truth) -> None:
        seen = []

        def look(change: Tensor, predicted: Tensor, baseline: Tensor) -> Tensor:
            assert change.dtype == predicted.dtype == baseline.dtype == torch.float64
            assert change.shape == predicted.shape == baseline.shape
            seen.append(len(change))
            return (baseline + change).logsumexp(-1)

        values = measured([custom(look)], precision="float64").metrics["mine"]
        theirs = (truth.baseline + truth.changes).logsumexp(-1)
        torch.testing.assert_close(values, theirs, rtol=1e-12, atol=0)
        assert set(seen) == {2, 3}

    def test_may_write_into_what_it_gets(self) -> None:
        def spoil(change: Tensor, predicted: Tensor, baseline: Tensor) -> Tensor:
            for argument in (change, predicted, baseline):
                argument.fill_(1e6)
            return change[:, 0]

        spoiled = measured([custom(spoil), *BUILT_IN], precision="float64")
        clean = measured(BUILT_IN, precision="float64")
        assert torch.equal(spoiled.relative_error, clean.relative_error)
        for metric in BUILT_IN:
            assert torch.equal(spoiled.metrics[metric.name], clean.metrics[metric.name])

    @pytest.mark.parametrize(
        ("function", "failure"),
        [
            (lambda *_: 1 / 0, "mine raised ZeroDivisionError: division by zero"),
            (lambda c, *_: c @ c, "mine raised RuntimeError: "),
            (lambda *_: [][0], "mine raised IndexError: list index out of range"),
            (lambda *_: 0.5, "mine gave float, not a Tensor of 2 prompts"),
            (lambda *_: None, "mine gave NoneType, not a Tensor of 2 prompts"),
            (lambda c, *_: c, "mine gave a Tensor of shape [2, 11], not [2] (one per prompt)"),
            (lambda c, *_: c.mean(), "mine gave a Tensor of shape [], not [2] (one per prompt)"),
            (lambda c, *_: c[:, 0] + 1j, "mine gave complex figures"),
        ],
    )
    def test_that_goes_wrong_is_named(self, function: Callable[..., Any], failure: str) -> None:
        measurement = measured([custom(function), BUILT_IN[0]])
        assert measurement.metrics["mine"].isnan().all()
        for reason in measurement.metric_failures["mine"]:
            assert str(reason).startswith(failure)
            assert "\n" not in str(reason)
        assert measurement.metrics["kl"].isfinite().all()
        assert measurement.metric_failures["kl"] == (None, None, None)

    def test_that_goes_wrong_at_one_radius_fails_that_one(self) -> None:
        def picky(change: Tensor, *_: Tensor) -> Tensor:
            if change.norm() > 6:
                raise ValueError("too far\nfor me")
            return change[:, 0]

        measurement = measured([custom(picky)])
        assert measurement.metric_failures["mine"] == (
            None,
            None,
            "mine raised ValueError: too far",
        )

    def test_may_give_other_numbers(self) -> None:
        for function in (lambda c, *_: c[:, 0] > 0, lambda c, *_: c.argmax(-1)):
            measurement = measured([custom(function)])
            assert measurement.metrics["mine"].dtype == torch.float64
            assert measurement.metric_failures["mine"] == (None,) * 3


class TestRounding:
    def move(self, function: Callable[..., Tensor], *rows: list[float], noise: float) -> float:
        change, predicted = (torch.tensor([v], dtype=torch.float64) for v in rows)
        baseline, metric = torch.zeros_like(change), custom(function)
        figures, _ = evaluate(metric, change, predicted, baseline)
        size = torch.tensor([noise], dtype=torch.float64)
        return float(moved_by_rounding(metric, figures, change, predicted, baseline, size))

    def test_moves_the_change_along_its_error(self) -> None:
        """(3, 4) against (3, 0), moved by ½ along (0, 1)."""
        rows = [3.0, 4.0], [3.0, 0.0]
        assert self.move(lambda c, *_: c[:, 1], *rows, noise=0.5) == 0.5
        assert self.move(lambda c, *_: c[:, 0], *rows, noise=0.5) == 0.0
        error = self.move(lambda c, p, _: (c - p).norm(dim=-1), *rows, noise=0.5)
        assert error == 0.5

    def test_without_an_error_moves_along_the_change(self) -> None:
        assert self.move(lambda c, *_: c.norm(dim=-1), [3.0, 4.0], [3.0, 4.0], noise=0.5) == 0.5

    def test_of_what_does_not_move_is_none(self) -> None:
        assert self.move(lambda c, *_: c.norm(dim=-1), [0.0], [0.0], noise=0.5) == 0.0

    def test_is_that_of_this_arithmetic(self) -> None:
        single, double = (measured(BUILT_IN, precision=p) for p in ("float32", "float64"))
        for name in ("kl", "symmetric_relative_error", "top_3_relative_error"):
            off = (single.metrics[name] - double.metrics[name]).abs().mean((1, 2))
            noise = single.metric_noise[name].mean((1, 2))
            # Told of one prompt and one direction, in a direction worse than that of rounding.
            assert (off < 5 * noise).all(), name
            assert (double.metric_noise[name].mean((1, 2)) < 1e-6 * noise + 1e-14).all(), name

    def test_that_could_turn_a_verdict_is_settled_in_float64(self) -> None:
        error = {"precision": "float64", "radii": (3.0,)}
        exact = float(measured(BUILT_IN, **error).metrics["kl"].mean())

        def precision(limit: float) -> tuple[str, ...]:
            limits = Limits(10.0, -1.0, {"kl": limit})
            return measured(BUILT_IN, (3.0,), limits=limits).precision

        assert precision(exact * 1.01) == ("float32",)
        assert precision(exact * (1 + 1e-9)) == ("float64",)
        limits = Limits(10.0, -1.0, {"top1_agreement": 1.0})
        assert measured(BUILT_IN, (1e-1,), limits=limits).precision == ("float32",)


def found(
    values: list[float], noise: float = 0.0, failure: str | None = None, **fields: Any
) -> MetricValues:
    figures = torch.tensor([values], dtype=torch.float64)
    metric = custom(lambda c, *_: c, **fields)
    return MetricValues(metric, figures, torch.full_like(figures, noise), failure)


class TestVerdict:
    def judge(self, *metrics: MetricValues, error: float = 0.1, **limits: float) -> Any:
        pairs = torch.tensor([error, error]), torch.tensor([0.99, 0.99])
        return judge_radius(1.0, metric_values(*pairs, *metrics), Limits(0.2, 0.95, limits))

    def test_mean_and_spread(self) -> None:
        figures = self.judge(found([0.1, 0.5], noise=0.01)).metrics["mine"]
        assert figures.mean == pytest.approx(0.3)
        assert figures.std == pytest.approx(0.2)
        assert figures.noise_floor == pytest.approx(0.01)
        assert figures.limit is None
        assert figures.complies
        assert (figures.label, figures.good) == ("my metric", "smaller")

    def test_a_limit_gates_in_the_good_direction(self) -> None:
        judged = self.judge(found([0.08, 0.08]), mine=0.05)
        assert not judged.complies
        assert judged.reason == "mean my metric 0.08 > 0.05"
        assert not judged.metrics["mine"].complies
        assert self.judge(found([0.08, 0.08]), mine=0.08).complies
        larger = self.judge(found([0.9, 0.8], good="larger"), mine=0.9)
        assert larger.reason == "mean my metric 0.85 < 0.90"
        assert self.judge(found([0.9, 0.95], good="larger"), mine=0.9).complies

    def test_reasons_are_joined(self) -> None:
        judged = self.judge(found([0.08, 0.08]), error=0.31, mine=0.05)
        assert judged.reason == "mean relative error 0.31 > 0.20, mean my metric 0.08 > 0.05"

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_what_is_not_finite_fails_its_radius_even_without_a_limit(self, bad: float) -> None:
        judged = self.judge(found([bad, 0.1]))
        assert judged.reason == "my metric is not finite in 1 of 2 (direction, prompt) pairs"
        assert not judged.complies
        assert judged.metrics["mine"].mean is None

    def test_a_function_that_failed_fails_its_radius(self) -> None:
        judged = self.judge(found([math.nan, 0.1], failure="mine raised E: x"))
        assert judged.reason == "mine raised E: x in 1 of 2 (direction, prompt) pairs"

    def test_logits_that_are_not_finite_are_said_once(self) -> None:
        judged = self.judge(found([math.nan, math.nan]), error=math.nan)
        assert judged.reason == "logits are not finite in 2 of 2 (direction, prompt) pairs"

    def test_rounding_turns_a_verdict_only_near_its_limit(self) -> None:
        def turns(limit: float, noise: float) -> bool:
            pairs = torch.tensor([[0.1, 0.1]]), torch.tensor([[0.99, 0.99]])
            limits = Limits(0.2, 0.95, {"mine": limit, "other": 0.1})
            metrics = [found([0.1, 0.1], noise=noise)]
            return undecided(metric_values(*pairs, *metrics), torch.zeros(1, 2), limits)

        assert turns(0.11, 0.02)
        assert turns(0.09, 0.02)
        assert not turns(0.13, 0.02)
        assert not turns(0.1, 0.0)


def test_a_metric_gates_where_a_crossing_is_refined() -> None:
    """The mean KL crosses its limit between two radii, the other limits are never reached."""
    limits = Limits(1e9, -1.0, {"kl": 1e-3})
    crossing = measured(BUILT_IN[:1], (0.1, 10.0), limits=limits, refined=True).refinement
    assert crossing is not None
    ends = measured(BUILT_IN[:1], (crossing.low, crossing.high), precision="float64")
    low, high = ends.metrics["kl"].mean((1, 2)).tolist()
    assert low <= 1e-3 < high
