"""What a bisection asks of a radius is what the verdict on it says."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pytest_linearity.numerics.measurement.limits import Limits, kept, undecided
from pytest_linearity.numerics.metrics.metric import Metric
from pytest_linearity.numerics.metrics.values import MetricValues
from pytest_linearity.verdict.radius import judge_radius
from tests.support.figures import metric_values

Radius = tuple[list[MetricValues], Limits, list[str]]
"""Every metric at one radius, the limits, and the kinds of the directions."""

PROMPTS = 2
KINDS = ("gaussian", "layerwise", "update")
UNDEFINED = st.sampled_from([float("nan"), float("inf")])
FIGURES = {
    "error": st.sampled_from([0.0, 0.1, 0.2, 0.3]) | st.floats(0, 0.4),
    "cosine": st.sampled_from([0.94, 0.95, 0.96, 1.0]) | st.floats(0.9, 1),
    "metric": st.sampled_from([0.0, 0.1, 0.2]) | st.floats(-0.2, 0.3),
}
RARELY = st.sampled_from([False] * 7 + [True])


def pairs(draw: st.DrawFn, directions: int, which: str) -> Tensor:
    """Figures that are near their limits, and in some examples not all finite."""
    figure = FIGURES[which] | UNDEFINED if draw(RARELY) else FIGURES[which]
    row = st.lists(figure, min_size=PROMPTS, max_size=PROMPTS)
    rows = draw(st.lists(row, min_size=directions, max_size=directions))
    return torch.tensor(rows, dtype=torch.float64)


@st.composite
def radii(draw: st.DrawFn) -> Radius:
    """A radius of a few directions, of which no, one or several kinds are named."""
    directions = draw(st.integers(1, 4))
    values = metric_values(pairs(draw, directions, "error"), pairs(draw, directions, "cosine"))
    for number in range(draw(st.integers(0, 2))):
        good = draw(st.sampled_from(["smaller", "larger"]))
        figures = pairs(draw, directions, "metric")
        failure = "it raised E: x" if draw(RARELY) else None
        metric = Metric(f"m{number}", f"metric {number}", "of a test", lambda c, *_: c, good)
        values.append(MetricValues(metric, figures, torch.zeros_like(figures), failure))
    of_metrics = {
        f"m{number}": limit
        for number in range(2)
        if (limit := draw(st.sampled_from([None, 0.1]))) is not None
    }
    limits = Limits(0.2, 0.95, of_metrics)
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=directions, max_size=directions))
    return values, limits, draw(st.sampled_from([kinds, []]))


@settings(max_examples=300, deadline=None)
@given(radii())
def test_kept_is_what_the_verdict_says(
    radius: tuple[list[MetricValues], Limits, list[str]],
) -> None:
    values, limits, kinds = radius
    verdict = judge_radius(1.0, values, limits, kinds=kinds)
    assert kept(values, limits, kinds) is verdict.complies


def test_kept_asks_every_kind_and_every_metric() -> None:
    error = torch.tensor([[0.1], [0.1], [0.28]], dtype=torch.float64)
    values = metric_values(error, torch.full_like(error, 0.99))
    limits = Limits(0.2, 0.95)
    assert kept(values, limits)
    assert not kept(values, limits, ("gaussian", "gaussian", "update"))
    assert not kept(values, replace(limits, cosine_similarity=0.999))
    metric = Metric("m", "a metric", "of a test", lambda c, *_: c)
    values.append(MetricValues(metric, error, torch.zeros_like(error), None))
    assert kept(values, limits)
    assert not kept(values, replace(limits, metrics={"m": 0.1}))
    assert not kept([*values[:2], replace(values[2], failure="it raised E: x")], limits)


def test_rounding_may_decide_about_a_single_kind() -> None:
    """The mean over all directions is far from the limit, that of one kind is not."""
    error = torch.tensor([[0.01], [0.2]], dtype=torch.float64)
    values = metric_values(error, torch.full_like(error, 0.99))
    floor = torch.full_like(error, 1e-3)
    assert not undecided(values, floor, Limits(0.2, 0.0))
    assert undecided(values, floor, Limits(0.2, 0.0), ("gaussian", "update"))
