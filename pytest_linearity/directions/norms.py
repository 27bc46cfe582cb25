"""Euclidean norms of parameters in float64, without a wide copy of any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import hypot

import torch
from torch import Tensor

from pytest_linearity.directions.layout import matrix_shape

_ENTRIES_AT_ONCE = 1 << 20


def tensor_norm(parameter: Tensor) -> float:
    """The norm of a parameter of any dtype, on any device."""
    flat = parameter.detach().reshape(-1)
    return total(
        float(torch.linalg.vector_norm(piece.double()))
        for piece in torch.split(flat, _ENTRIES_AT_ONCE)
    )


def row_norms(parameter: Tensor) -> Tensor:
    """The norm of every row of a parameter seen as a matrix.

    Returns:
        float64 Tensor [rows], on the CPU.
    """
    matrix = parameter.detach().reshape(matrix_shape(tuple(parameter.shape)))
    norms = [torch.linalg.vector_norm(piece.double(), dim=1).cpu() for piece in _pieces(matrix)]
    return torch.cat(norms) if norms else torch.zeros(len(matrix), dtype=torch.float64)


def total(norms: Iterable[float]) -> float:
    """The norm of the whole, from the norms of its parts; it does not depend on their order."""
    return hypot(*sorted(norms))


def _pieces(matrix: Tensor) -> Iterator[Tensor]:
    rows = max(1, _ENTRIES_AT_ONCE // max(1, matrix.shape[1]))
    for start in range(0, len(matrix), rows):
        yield matrix[start : start + rows]
