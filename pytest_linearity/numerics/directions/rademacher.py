"""Directions of random signs: every entry is +1/√d or −1/√d, each with probability one half."""

from __future__ import annotations

from functools import partial
from math import prod, sqrt

import torch
from torch import Tensor

from pytest_linearity.numerics.directions.base import Kind
from pytest_linearity.numerics.directions.parts import Fill, Part
from pytest_linearity.numerics.directions.seeds import Chance


class Rademacher(Kind):
    """Directions that move every parameter in scope by the same amount."""

    label = "random signs"

    def __init__(self, chance: Chance, count: int) -> None:
        """As many directions as are asked for, in the scope of `chance`."""
        self.count = count
        self._chance = chance
        self._size = 1.0 / sqrt(sum(prod(shape) for shape in chance.shapes.values()) or 1)

    def part(self, k: int, name: str) -> Part:
        """The part of direction k that belongs to one parameter."""
        return _Signs(self._chance, k, name, self._size)


class _Signs(Part):
    def __init__(self, chance: Chance, k: int, name: str, size: float) -> None:
        super().__init__(chance.shapes[name])
        self._size = size
        self._seeds = chance.block_seeds(k, name, "signs")

    def job(self, target: Tensor, block: int) -> Fill:
        return partial(_draw, target, int(self._seeds[block]), self._size)


def _draw(target: Tensor, seed: int, size: float, generator: torch.Generator) -> None:
    target.random_(0, 2, generator=generator.manual_seed(seed))
    # From 0 and 1 to −size and size, of exactly the same magnitude in float32.
    target.mul_(2).sub_(1).mul_(size)
