"""The built-in metrics by hand, and against their definitions written out in plain Python."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from pytest_linearity import find_metric
from pytest_linearity.numerics.metrics.registry import ALWAYS, known_metrics

Vector = Sequence[float]
NAMES = ("kl", "top1_agreement", "symmetric_relative_error", "top_2_relative_error")


def figure(name: str, change: Vector, predicted: Vector, baseline: Vector) -> float:
    logits = (torch.tensor([v], dtype=torch.float64) for v in (change, predicted, baseline))
    values = find_metric(name).function(*logits)
    assert values.shape == (1,)
    assert values.dtype == torch.float64
    return float(values)


def plain_kl(true: Vector, predicted: Vector) -> float:
    """Σ p log(p/q), every sum exact."""

    def softmax(logits: Vector) -> list[float]:
        top = max(logits)
        weights = [math.exp(v - top) for v in logits]
        return [w / math.fsum(weights) for w in weights]

    p, q = softmax(true), softmax(predicted)
    return math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def plain_norm(vector: Vector) -> float:
    return math.sqrt(math.fsum(v * v for v in vector))


def plain(name: str, change: Vector, predicted: Vector, baseline: Vector) -> float:
    true = [b + c for b, c in zip(baseline, change, strict=True)]
    expected = [b + c for b, c in zip(baseline, predicted, strict=True)]
    error = [c - p for c, p in zip(change, predicted, strict=True)]
    if name == "kl":
        return plain_kl(true, expected)
    if name == "top1_agreement":
        return float(true.index(max(true)) == expected.index(max(expected)))
    if name == "symmetric_relative_error":
        return 2 * plain_norm(error) / (plain_norm(change) + plain_norm(predicted))
    largest = sorted(range(len(baseline)), key=lambda i: -baseline[i])[:2]
    return plain_norm([error[i] for i in largest]) / plain_norm([change[i] for i in largest])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [3, 50])
def test_is_what_its_definition_says(name: str, size: int) -> None:
    random = torch.Generator().manual_seed(size)
    for scale in (0.1, 1.0, 5.0):
        draws = torch.randn(3, size, dtype=torch.float64, generator=random) * scale
        rows = draws.tolist()
        assert figure(name, *rows) == pytest.approx(plain(name, *rows), rel=1e-11, abs=1e-14)


def test_kl_by_hand() -> None:
    """p = (3/4, 1/4) against q = (1/2, 1/2): ¾ ln(3/2) + ¼ ln(1/2)."""
    kl = figure("kl", [math.log(3.0), 0.0], [0.0, 0.0], [0.0, 0.0])
    assert kl == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-14)
    other = figure("kl", [0.0, 0.0], [math.log(3.0), 0.0], [0.0, 0.0])
    assert other == pytest.approx(0.5 * math.log(2 / 3) + 0.5 * math.log(2.0), rel=1e-14)
    assert kl != pytest.approx(other, rel=0.05)  # the true distribution comes first


def test_kl_does_not_see_what_softmax_does_not_see() -> None:
    assert figure("kl", [1.0, 2.0], [6.0, 7.0], [0.3, 0.1]) == pytest.approx(0.0, abs=1e-15)
    assert figure("kl", [1.0, 2.0], [6.0, 7.0], [0.3, 0.1]) >= 0.0


def test_kl_of_logits_far_apart() -> None:
    assert figure("kl", [0.0, 0.0], [0.0, 1e4], [0.0, 0.0]) == pytest.approx(5e3 - math.log(2))


def test_agreement_is_of_logits_not_of_changes() -> None:
    assert figure("top1_agreement", [0.0, 1.0], [0.0, 3.0], [5.0, 0.0]) == 1.0
    assert figure("top1_agreement", [0.0, 1.0], [0.0, 3.0], [2.0, 0.0]) == 0.0


def test_symmetric_error_by_hand() -> None:
    """‖(3, 4) − (3, 0)‖ = 4 over the mean of 5 and 3; either may be the true one."""
    assert figure("symmetric_relative_error", [3.0, 4.0], [3.0, 0.0], [0.0, 0.0]) == 1.0
    assert figure("symmetric_relative_error", [3.0, 0.0], [3.0, 4.0], [0.0, 0.0]) == 1.0
    assert figure("symmetric_relative_error", [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]) == 2.0
    assert figure("symmetric_relative_error", [0.0, 0.0], [1.0, 0.0], [0.0, 0.0]) == 2.0
    tiny = figure("symmetric_relative_error", [1e-200, 0.0], [3e-200, 0.0], [0.0, 0.0])
    assert tiny == pytest.approx(1.0)


def test_top_k_takes_the_largest_at_the_checkpoint() -> None:
    """Of the three, the second and third are largest at θ*, though the first is after the step."""
    change, predicted, baseline = [9.0, 4.0, 3.0], [0.0, 4.0, 2.0], [0.0, 1.0, 2.0]
    assert figure("top_2_relative_error", change, predicted, baseline) == pytest.approx(1 / 5)
    assert figure("top_1_relative_error", change, predicted, baseline) == pytest.approx(1 / 3)
    whole = plain_norm([9.0, 0.0, 1.0]) / plain_norm(change)
    for k in (3, 4, 100):
        assert figure(f"top_{k}_relative_error", change, predicted, baseline) == pytest.approx(
            whole
        )


def test_neither_moves() -> None:
    zero, baseline = [0.0, 0.0, 0.0], [0.3, -1.0, 0.2]
    expected = {"top1_agreement": 1.0, "cosine_similarity": 1.0}
    for name in (*NAMES, *ALWAYS):
        assert figure(name, zero, zero, baseline) == expected.get(name, 0.0)


def test_only_the_prediction_moves() -> None:
    rows = [0.0, 0.0], [1.0, 0.0], [0.0, 0.5]
    assert math.isinf(figure("top_1_relative_error", [0.0, 0.0], [0.0, 1.0], [0.0, 0.5]))
    assert figure("kl", *rows) == pytest.approx(plain_kl([0.0, 0.5], [1.0, 0.5]))
    assert figure("top1_agreement", *rows) == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("which", [0, 1])
def test_what_is_not_finite_is_marked(bad: float, name: str, which: int) -> None:
    rows = [[1.0, 0.5], [0.5, 0.5], [0.2, 0.1]]
    rows[which][0] = bad
    assert not math.isfinite(figure(name, *rows))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_baseline_that_is_not_finite_is_marked(bad: float) -> None:
    for name in ("kl", "top1_agreement"):
        assert math.isnan(figure(name, [1.0, 0.5], [0.5, 0.5], [bad, 0.1]))


def test_batches_are_prompts_one_by_one() -> None:
    random = torch.Generator().manual_seed(1)
    change, predicted, baseline = torch.randn(3, 4, 9, dtype=torch.float64, generator=random)
    for metric in known_metrics():
        together = metric.function(change, predicted, baseline)
        alone = [
            float(metric.function(change[i : i + 1], predicted[i : i + 1], baseline[i : i + 1]))
            for i in range(4)
        ]
        assert together.tolist() == pytest.approx(alone, rel=1e-14)


def test_the_two_old_ones_are_entries_like_the_others() -> None:
    from pytest_linearity.numerics.metrics.changes import cosine_similarity, relative_error

    change, predicted, baseline = torch.randn(
        3, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    for function in (relative_error, cosine_similarity):
        values: Tensor = find_metric(function.__name__).function(change, predicted, baseline)
        assert torch.equal(values, function(change, predicted))
