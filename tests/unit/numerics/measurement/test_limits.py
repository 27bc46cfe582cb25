"""What a bisection asks of a radius is what the verdict on it says."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import given
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
    "error": st.one_of(st.sampled_from([0.0, 0.1, 0.2, 0.3]), st.floats(0, 0.5), UNDEFINED),
    "cosine": st.one_of(st.sampled_from([0.9, 0.95, 1.0]), st.floats(-1, 1), UNDEFINED),
    "metric": st.one_of(st.sampled_from([0.0, 0.1, 0.2]), st.floats(-2, 2), UNDEFINED),
}


def pairs(draw: st.DrawFn, directions: int, which: str, *, defined: bool) -> Tensor:
    """Figures that mostly are near their limits, and in some examples not all finite."""
    figure = FIGURES[which]
    if defined:
        figure = figure.filter(lambda value: abs(value) < float("inf"))
    row = st.lists(figure, min_size=PROMPTS, max_size=PROMPTS)
    rows = draw(st.lists(row, min_size=directions, max_size=directions))
    return torch.tensor(rows, dtype=torch.float64)


@st.composite
def radii(draw: st.DrawFn) -> Radius:
    """A radius of a few directions, of which no, one or several kinds are named."""
    directions = draw(st.integers(1, 4))
    defined = [draw(st.sampled_from([True, True, False])) for _ in range(4)]
    values = metric_values(
        pairs(draw, directions, "error", defined=defined[0]),
        pairs(draw, directions, "cosine", defined=defined[1]),
    )
    for number in range(draw(st.integers(0, 2))):
        good = draw(st.sampled_from(["smaller", "larger"]))
        figures = pairs(draw, directions, "metric", defined=defined[2 + number])
        failure = draw(st.sampled_from([None, None, "it raised E: x"]))
        metric = Metric(f"m{number}", f"metric {number}", "of a test", lambda c, *_: c, good)
        values.append(MetricValues(metric, figures, torch.zeros_like(figures), failure))
    of_metrics = {
        f"m{number}": limit
        for number in range(2)
        if (limit := draw(st.sampled_from([None, 0.1]))) is not None
    }
    limits = Limits(draw(st.sampled_from([0.2, 0.3, 9.0])), 0.95, of_metrics)
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=directions, max_size=directions))
    return values, limits, draw(st.sampled_from([kinds, []]))


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
