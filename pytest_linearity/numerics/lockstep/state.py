"""What a forward leaves in its modules, put back so that every run begins with the same state.

Buffers are copies for the time of a run (see `served`). Attributes are the modules' own: a table
that has grown for a long prompt while the buffer beside it is put back, or a tensor in another
arithmetic, would be met by the next run, and by whoever uses the model afterwards.
"""

from __future__ import annotations

import operator
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pytest_linearity.numerics.lockstep.pytree import leaves

_CONTAINERS = frozenset([dict, OrderedDict, defaultdict, list, set, deque])


class StateMismatch(Exception):
    """Batches that ran together change what their forwards may read: run each by itself."""


class _Value(NamedTuple):
    """One attribute or buffer, as it was."""

    value: Any
    contents: Any
    """A shallow copy of a container; None for anything else."""
    versions: tuple[int, ...]
    """How often the tensors in it had been written into."""

    @classmethod
    def of(cls, value: Any) -> _Value:
        return cls(value, copy(value) if type(value) in _CONTAINERS else None, _versions(value))

    def put_back(self) -> Any:
        """The value, its contents as they were."""
        if self.contents is not None and not _same_items(self.value, self.contents):
            self.value.clear()
            add = self.value.extend if isinstance(self.value, (list, deque)) else self.value.update
            add(self.contents)
        return self.value

    def is_now(self, value: Any) -> bool:
        """Whether a value is still this one, and nothing in it has changed."""
        if value is not self.value:
            return isinstance(value, (bool, int, float, str)) and value == self.value
        same = self.contents is None or _same_items(value, self.contents)
        return same and _versions(value) == self.versions


class State:
    """The attributes and buffers of all modules of a model, as they were."""

    def __init__(self, model: nn.Module) -> None:
        """Take note of them, and of what the containers among them hold."""
        self._noted = [
            (name, module, _noted(module.__dict__), _noted(module._buffers))
            for name, module in model.named_modules()
        ]

    def put_back(self) -> None:
        """Bind attributes to what they were bound to, and fill containers as they were."""
        for _, module, attributes, _ in self._noted:
            for key in module.__dict__.keys() - attributes.keys():
                del module.__dict__[key]
            module.__dict__.update({key: noted.put_back() for key, noted in attributes.items()})

    def changed(self) -> tuple[str, ...]:
        """Names of those that are bound, filled or written into otherwise than they were."""
        return tuple(
            f"{name}.{key}" if name else key
            for name, module, *noted in self._noted
            for before, now in zip(noted, (module.__dict__, module._buffers), strict=True)
            for key, value in now.items()
            if key != "_buffers" and not (key in before and before[key].is_now(value))
        )


@contextmanager
def state_kept(model: nn.Module) -> Iterator[State]:
    """Put back what a forward leaves in the attributes of its modules."""
    state = State(model)
    try:
        yield state
    finally:
        state.put_back()


def _noted(values: Mapping[str, Any]) -> dict[str, _Value]:
    return {key: _Value.of(value) for key, value in values.items()}


def _versions(value: Any) -> tuple[int, ...]:
    return tuple(
        leaf._version
        for leaf in leaves(value)
        if type(leaf) is Tensor and not torch.is_inference(leaf)
    )


def _same_items(one: Any, other: Any) -> bool:
    """Whether two containers of one type hold the same objects; tensors are not compared."""
    if len(one) != len(other):
        return False
    if isinstance(one, dict):
        # Their order is part of what a cache of the last used is.
        return list(one) == list(other) and all(map(operator.is_, one.values(), other.values()))
    if isinstance(one, set):
        return bool(one == other)
    return all(map(operator.is_, one, other))
