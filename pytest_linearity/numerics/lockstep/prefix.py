"""The prefix that all prompts share: an evaluation of its own, and what it hands to theirs.

At every point of parameter space the prefix is evaluated once, in lockstep with the prompts. It is
resumed before them, so that a layer's keys and values are there when they ask, and are let go of
as soon as the last of them has asked: no more than about one layer's are ever held.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeAlias

import torch
from torch import Tensor

from pytest_linearity.numerics.lockstep.evaluation import PREFIX, Evaluation, current

Point: TypeAlias = tuple[int | None, float | None, bool]
"""Where in parameter space: direction, step, and whether a tangent comes along with a step."""


class PrefixMismatch(Exception):
    """A prompt and the prefix do not meet as they should: evaluate every prompt whole."""


class _Complete(Exception):
    """All that prompts need of the prefix is there, so that it need not go on."""


class SharedPrefix:
    """What all prompts begin with."""

    def __init__(self, tokens: int, forward: Callable[[SharedPrefix], object]) -> None:
        """A prefix, to be evaluated once per point of parameter space and run.

        Args:
            tokens: Length of the prefix.
            forward: Runs the model on it, and calls `put` for every layer.
        """
        self.tokens = tokens
        """Length of the prefix."""
        self.skipped: str | None = None
        """Why prompts are evaluated whole instead; None where the prefix is shared."""
        self.layers: int | None = None
        """After so many layers' keys and values the forward may stop; None lets it run on."""
        self.seen = 0
        """How many layers the last baseline has handed over."""
        self._forward = forward
        self._readers: Counter[Point] = Counter()
        self._put: dict[Point, set[int]] = {}
        self._held: dict[tuple[Point, int], _Held] = {}

    def __call__(self) -> Tensor:
        """Run the forward, as an evaluation; its result is empty, for nobody looks at it."""
        with suppress(_Complete):
            self._forward(self)
        return torch.empty(0)

    def begin(self, evaluations: Sequence[Evaluation]) -> list[Evaluation]:
        """Expect these evaluations to ask.

        Returns:
            The evaluations of the prefix that they need, which must be started before them.
        """
        self.end()
        self._readers = Counter(map(_point, evaluations))
        return [Evaluation(PREFIX, *point) for point in self._readers]

    def end(self) -> None:
        """Let go of everything."""
        self._put.clear()
        self._held.clear()

    def put(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Hand a layer's keys and values over, Tensors [1, heads, tokens, features].

        Raises:
            PrefixMismatch: If the layer has handed some over before.
        """
        point = _here()
        layers = self._put.setdefault(point, set())
        if layer in layers:
            raise PrefixMismatch(f"layer {layer} caches keys and values twice in one forward")
        layers.add(layer)
        self._held[point, layer] = _Held(keys, values, self._readers[point])
        if point == _BASELINE:
            self.seen = len(layers)
        if len(layers) == self.layers:
            raise _Complete

    def take(self, layer: int) -> tuple[Tensor, Tensor]:
        """A layer's keys and values at the point where the running evaluation is.

        Raises:
            PrefixMismatch: If they are not there.
        """
        place = _here(), layer
        held = self._held.get(place)
        if held is None:
            raise PrefixMismatch(f"the prefix was not there in time at layer {layer}")
        held.readers -= 1
        if held.readers == 0:
            del self._held[place]
        return held.keys, held.values


class _Held:
    """Keys and values, and how many evaluations have still to ask for them."""

    def __init__(self, keys: Tensor, values: Tensor, readers: int) -> None:
        self.keys = keys
        self.values = values
        self.readers = readers


_BASELINE: Point = (None, None, False)


def _point(evaluation: Evaluation) -> Point:
    return evaluation.direction, evaluation.step, evaluation.dual


def _here() -> Point:
    running = current()
    if running is None:
        raise PrefixMismatch("a shared prefix is asked for outside of an evaluation")
    return _point(running.evaluation)
