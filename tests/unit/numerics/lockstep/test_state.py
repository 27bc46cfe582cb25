"""What a forward leaves in its modules is put back, whatever it is, and its names are known."""

from __future__ import annotations

from collections import OrderedDict, deque
from functools import cached_property
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pytest_linearity import Directions
from pytest_linearity.numerics.lockstep.evaluation import Evaluation
from pytest_linearity.numerics.lockstep.scheduler import Lockstep
from pytest_linearity.numerics.lockstep.state import State
from pytest_linearity.numerics.precision import Arithmetic


class Keeps(nn.Module):
    """Leaves all kinds of things behind."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.bound = self.untouched = torch.zeros(2)
        self.count = 0
        self.things: dict[str, object] = {"old": 1}
        self.ordered = OrderedDict(a=1, b=2)
        self.items = [1, 2]
        self.queue = deque([1, 2], maxlen=2)
        self.names = {"old"}

    @cached_property
    def twice(self) -> Tensor:
        return 2 * self.layer.weight

    def forward(self) -> Tensor:
        self.bound = self.layer(torch.ones(1, 2))
        self.count += 1
        self.things = {**self.things, "new": 2}
        self.ordered.move_to_end("a")
        self.items.append(self.bound)
        self.queue.append(3)
        self.names.clear()
        self.layer.new = self.twice.detach()
        self.eval()
        return self.bound + self.twice.sum()


NAMES = {"bound", "count", "things", "ordered", "items", "queue", "names"}


def run(model: nn.Module, **more: Any) -> Lockstep:
    arithmetic = Arithmetic(torch.float64, torch.device("cpu"))
    engine = Lockstep(model, [model], Directions(model, 1), arithmetic, **more)
    evaluations = [Evaluation(0), Evaluation(0, 0), Evaluation(0, 0, 0.1)]
    engine.run(evaluations, lambda evaluation, output: None)
    return engine


@pytest.mark.parametrize("interleaved", [True, False])
def test_attributes_are_as_they_were(interleaved: bool) -> None:
    model = Keeps()
    objects = {name: vars(model)[name] for name in NAMES}
    engine = run(model, interleaved=interleaved)
    assert all(vars(model)[name] is value for name, value in objects.items())
    assert torch.equal(model.bound, torch.zeros(2))
    assert model.count == 0
    assert model.things == {"old": 1}
    assert list(model.ordered) == ["a", "b"]
    assert model.items == [1, 2]
    assert list(model.queue) == [1, 2]
    assert model.names == {"old"}
    assert not hasattr(model.layer, "new")
    assert "twice" not in vars(model)
    assert model.training
    assert model.layer.training
    assert engine.changed == NAMES | {"layer.new", "twice", "training", "layer.training"}


def test_attributes_are_as_they_were_after_an_error() -> None:
    class Fails(Keeps):
        def forward(self) -> Tensor:
            super().forward()
            raise ValueError("no more")

    model = Fails()
    with pytest.raises(ValueError, match="no more"):
        run(model)
    assert model.count == 0
    assert model.items == [1, 2]


def test_every_evaluation_alone_begins_with_the_same_state() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.count = 0
            self.register_buffer("buffer", torch.zeros(1))

        def forward(self) -> Tensor:
            self.count += 1
            self.buffer += 1
            counts.append((self.count, float(self.buffer)))
            return self.layer(torch.ones(1, 2))

    counts: list[tuple[int, float]] = []
    engine = run(Counts(), interleaved=False)
    assert counts == [(1, 1.0)] * 3
    assert engine.changed == {"count", "buffer"}


def test_a_forward_that_leaves_nothing_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval()
    x = torch.ones(1, 2)
    arithmetic = Arithmetic(torch.float64, torch.device("cpu"))
    engine = Lockstep(model, [lambda: model(x)], Directions(model, 1), arithmetic)
    engine.run([Evaluation(0)], lambda evaluation, output: None)
    assert engine.changed == frozenset()


def test_tensors_made_in_inference_mode_are_no_obstacle() -> None:
    model = nn.Linear(2, 2)
    with torch.inference_mode():
        model.kept = torch.zeros(2)
    state = State(model)
    assert state.changed() == ()
    model.other = 1
    assert state.changed() == ("other",)
    state.put_back()
    assert not hasattr(model, "other")
