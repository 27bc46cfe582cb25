"""Draws that only some prompts reach."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pytest_linearity import Directions, measure
from pytest_linearity.errors import MeasurementError
from pytest_linearity.numerics.measurement import passes

NOISES: dict[str, Callable[[Tensor], Tensor]] = {
    "dropout": lambda h: functional.dropout(h, 0.3, training=True),
    "torch": lambda h: h + 0.01 * torch.randn(h.shape),
    "python": lambda h: h * (1 + 0.01 * random.random()),
    "numpy": lambda h: h * (1 + 0.01 * numpy.random.rand()),
    "layerdrop": lambda h: h * float(random.uniform(0, 1) > 0.5),
}


class Net(nn.Module):
    """Two layers with something between them for long prompts."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.second = nn.Linear(4, 16), nn.Linear(16, 6)
        self.between = between

    def run(self, tokens: int) -> Tensor:
        h = self.first(torch.linspace(0, 1, 8 * tokens).view(2, tokens, 4)).tanh()
        h = self.between(h) if tokens > 3 else h
        return self.second(h)[:, -1]


def measured(model: Net, scope: str, precision: str, tokens: tuple[int, ...] = (2, 3, 5)) -> Any:
    runs = [lambda n=n: model.run(n) for n in tokens]
    return measure(model, runs, Directions(model, 2, scope=scope), [0.1], precision)


@pytest.mark.parametrize("precision", ["auto", "float64"])
@pytest.mark.parametrize("scope", ["full", "regex:second"], ids=["full", "in the trunk"])
@pytest.mark.parametrize("noise", list(NOISES))
def test_a_draw_that_only_long_prompts_reach_is_refused(
    noise: str, scope: str, precision: str
) -> None:
    random.seed(0)
    numpy.random.seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Net(NOISES[noise])
        with pytest.raises(MeasurementError, match=r"not deterministic: .* of batch 3\) differ by"):
            measured(model, scope, precision)
        measured(model, scope, precision, (2, 3))


def test_draws_that_are_seeded_or_without_effect_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[int] = []
    plain = passes.check_repeats

    def counted(model: Any, runs: Any, places: list[int], *rest: Any) -> None:
        checked.extend(places)
        plain(model, runs, places, *rest)

    monkeypatch.setattr(passes, "check_repeats", counted)

    def seeded(h: Tensor) -> Tensor:
        torch.manual_seed(7)
        return h + 0.01 * torch.randn(h.shape[-1])

    def idle(h: Tensor) -> Tensor:
        random.random()
        return h

    with torch.random.fork_rng():
        for between in (seeded, idle):
            result = measured(Net(between), "full", "float64")
            assert result.relative_error.max() < 0.1
    assert checked == [2, 2]  # a round for each batch, as nothing is known of their size
    measured(Net(lambda h: h), "full", "float64")
    assert checked == [2, 2]
