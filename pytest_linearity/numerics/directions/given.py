"""A direction that something other than chance gives: a vector over the parameters, normalised."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from math import isfinite
from typing import Any, Protocol

import torch
from torch import Tensor

from pytest_linearity.errors import ConfigError
from pytest_linearity.numerics.directions.base import Kind
from pytest_linearity.numerics.directions.layout import block_rows, matrix_shape
from pytest_linearity.numerics.directions.norms import total
from pytest_linearity.numerics.directions.parts import Fill, Part
from pytest_linearity.numerics.directions.seeds import Shapes

_BLOCKS_AT_ONCE = 32


class Vector(Protocol):
    """A vector over the parameters, of any norm; see `pytest_linearity.run.directions`."""

    @property
    def label(self) -> str:
        """What a report calls it."""

    @property
    def zero(self) -> str:
        """What a message says where it is zero."""

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Some rows of its part of one parameter, seen as a matrix (see `parts.Part`).

        Returns:
            float Tensor [stop - start, width], on the CPU.

        Raises:
            ConfigError: If there is no such part, or it is of another shape.
        """

    def facts(self, shapes: Shapes) -> Mapping[str, Any]:
        """What the report says of it, as far as the parameters in scope are concerned."""


class Given(Kind):
    """The one direction of a vector."""

    count = 1

    def __init__(self, kind: str, vector: Vector, shapes: Shapes, *, reverse: bool) -> None:
        """Read the whole vector once, for its norm.

        Args:
            kind: What the config calls it.
            vector: The vector.
            shapes: Of the parameters in scope.
            reverse: Whether the direction is the opposite one.

        Raises:
            ConfigError: If the vector lacks a parameter in scope, has another shape, is not finite,
                or is zero.
        """
        self._vector = vector
        self._shapes = shapes
        norms = {name: _norm(kind, vector, name, shape) for name, shape in shapes.items()}
        norm = self.norm = total(norms.values())
        """Euclidean norm of the vector, within the scope."""
        if not norm:
            raise ConfigError(f"directions: {kind}: {vector.zero}")
        self._scale = -1.0 / norm if reverse else 1.0 / norm
        self.label = f"reversed {vector.label}" if reverse else vector.label
        self.facts = {"norm": norm, "vector": _digest(norms), **vector.facts(shapes)}

    def part(self, k: int, name: str) -> Part:
        """The direction's part of one parameter."""
        return _GivenPart(self._vector, name, self._shapes[name], self._scale)


class _GivenPart(Part):
    def __init__(self, vector: Vector, name: str, shape: tuple[int, ...], scale: float) -> None:
        super().__init__(shape)
        self._vector = vector
        self._name = name
        self._scale = scale

    def job(self, target: Tensor, block: int) -> Fill:
        return partial(self._copy, target, block * self.block)

    def _copy(self, target: Tensor, start: int, generator: object) -> None:
        rows = self._vector.rows(self._name, start, start + len(target))
        target.copy_(rows.double() * self._scale)


def _digest(norms: Mapping[str, float]) -> str:
    """Stands for a vector, so that those of two runs are told apart.

    It is made of the norm of every tensor to five digits, which rounding elsewhere leaves alone.
    """
    spelled = [(name, f"{norm:.4e}") for name, norm in sorted(norms.items())]
    return hashlib.sha256(repr(spelled).encode()).hexdigest()


def _norm(kind: str, vector: Vector, name: str, shape: tuple[int, ...]) -> float:
    count, width = matrix_shape(shape)
    step = _BLOCKS_AT_ONCE * block_rows(width)
    norm = total(
        float(torch.linalg.vector_norm(vector.rows(name, start, min(start + step, count)).double()))
        for start in range(0, count, step)
    )
    if not isfinite(norm):
        raise ConfigError(f"directions: {kind}: {name} holds values that are NaN or infinite")
    return norm
