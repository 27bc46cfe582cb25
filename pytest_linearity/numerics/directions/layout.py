"""A parameter as a matrix of rows, and the matrix in draw blocks."""

from __future__ import annotations

from math import prod

_BLOCK_ENTRIES = 32768
"""Entries of a draw block: small enough for the cache and for the rows a few tokens touch, and the
largest size torch works on with one thread, so that a value never depends on the thread count."""


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and row length of a parameter seen as a matrix; see `parts.Part`."""
    if len(shape) < 2:
        return 1, prod(shape)
    return prod(shape[:-1]), shape[-1]


def block_rows(width: int) -> int:
    """Rows of a draw block, for rows of some length."""
    return max(1, _BLOCK_ENTRIES // max(1, width))


def block_sizes(shape: tuple[int, ...]) -> list[int]:
    """Entries of each draw block of a parameter; all but the last are equal."""
    count, width = matrix_shape(shape)
    rows = block_rows(width)
    blocks = -(-count // rows) if width else 0
    sizes = [rows * width] * blocks
    if blocks:
        sizes[-1] = (count - (blocks - 1) * rows) * width
    return sizes
