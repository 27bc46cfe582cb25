"""Euclidean norms of parameters in float64, without a wide copy of any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import hypot

import torch
from torch import Tensor

from pytest_linearity.numerics.directions.layout import matrix_shape
from pytest_linearity.numerics.mapped_files import FileMaps

_ENTRIES_AT_ONCE = 1 << 20


def tensor_norm(parameter: Tensor) -> float:
    """The norm of a parameter of any dtype, on any device."""
    pieces = FileMaps.now().released(torch.split(parameter.detach().reshape(-1), _ENTRIES_AT_ONCE))
    return total(float(torch.linalg.vector_norm(piece.double())) for piece in pieces)


def row_norms(parameter: Tensor) -> Tensor:
    """The norm of every row of a parameter seen as a matrix.

    Returns:
        float64 Tensor [rows], on the CPU.
    """
    matrix = parameter.detach().reshape(matrix_shape(tuple(parameter.shape)))
    pieces = FileMaps.now().released(_pieces(matrix))
    norms = [torch.linalg.vector_norm(piece.double(), dim=1).cpu() for piece in pieces]
    return torch.cat(norms) if norms else torch.zeros(len(matrix), dtype=torch.float64)


def total(norms: Iterable[float]) -> float:
    """The norm of the whole, from the norms of its parts; it does not depend on their order."""
    return hypot(*sorted(norms))


def _pieces(matrix: Tensor) -> Iterator[Tensor]:
    rows = max(1, _ENTRIES_AT_ONCE // max(1, matrix.shape[1]))
    for start in range(0, len(matrix), rows):
        yield matrix[start : start + rows]
