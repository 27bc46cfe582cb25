"""What all kinds of directions have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from torch import Tensor

from pytest_linearity.numerics.directions.parts import Fill, Part


class Kind(ABC):
    """Some unit directions of one kind over the parameters in scope."""

    label: str
    """What a report calls them; others with the same seed are not the same."""
    count: int
    """How many there are."""
    facts: Mapping[str, Any] = MappingProxyType({})
    """What else the report says of them, ready for JSON."""

    @abstractmethod
    def part(self, k: int, name: str) -> Part:
        """The part of the k-th of them that belongs to one parameter."""


class ZeroPart(Part):
    """A part of a parameter that a direction leaves alone."""

    def job(self, target: Tensor, block: int) -> Fill:
        """Zeros."""
        return partial(_zero, target)


def _zero(target: Tensor, generator: object) -> None:
    target.zero_()
