"""The order in which parameters are read, which hardly changes from one run to the next.

It is what reading ahead goes by: a forward cannot be asked which parameter it will use next, but it
has used them before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

from torch import nn


class Rows(NamedTuple):
    """Some rows of a parameter seen as a matrix."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class Reading:
    """Rows that were asked for, and how they were read."""

    rows: Rows
    """Which."""
    sliced: bool
    """Whether a slice at a time."""


class Order:
    """The order in which a model's parameters were read the last time."""

    def __init__(self) -> None:
        """An order that the first run is to teach."""
        self._known: Sequence[Reading] = ()
        self._places: dict[Rows, int] = {}
        self._now: list[Reading] = []

    def note(self, reading: Reading) -> None:
        """Take note of a read."""
        self._now.append(reading)

    def after(self, rows: Rows) -> Iterator[Reading]:
        """What followed these rows the last time; nothing if they were not read."""
        place = self._places.get(rows, len(self._known))
        return (self._known[at] for at in range(place + 1, len(self._known)))

    @contextmanager
    def learned(self) -> Iterator[Order]:
        """One run: what is noted in it is expected the next time, if it comes to its end."""
        self._now = []
        yield self
        self._known = tuple(self._now)
        self._places = {reading.rows: place for place, reading in enumerate(self._known)}


_ORDERS: WeakKeyDictionary[nn.Module, Order] = WeakKeyDictionary()


def order_of(model: nn.Module) -> Order:
    """The order of a model, kept as long as the model."""
    return _ORDERS.setdefault(model, Order())
