"""One direction's part of one parameter, made a few rows at a time.

A direction has as many entries as the model, and there are many directions: none is ever there as a
whole. What is needed of it is drawn anew where it is needed, in draw blocks that always come out
the same (see `layout`, `seeds`), on as many processors as torch would use.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from pytest_linearity.numerics.directions.layout import block_rows, matrix_shape
from pytest_linearity.numerics.threads import pool

Fill: TypeAlias = Callable[[torch.Generator], object]
"""Fills the memory of one draw block; may seed and use the generator that it is given."""


class Part(ABC):
    """One direction's part of one parameter, as a matrix of rows.

    A parameter of two or more dimensions has its last dimension as the length of a row and all
    others flattened as the rows; a vector or scalar is one row.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        """A part of a parameter of this shape."""
        self.count, self.width = matrix_shape(shape)
        self.block = block_rows(self.width)

    @abstractmethod
    def job(self, target: Tensor, block: int) -> Fill:
        """What makes one draw block.

        Args:
            target: Where to, float32 Tensor [rows, width] on the CPU, of any contents.
            block: Which draw block: the rows from `block * self.block` on.
        """

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows start to stop: float32 Tensor [stop - start, width], on the CPU."""
        return rows_of([self], start, stop)[0]

    def gather(self, rows: Tensor) -> Tensor:
        """Some rows, each as `rows` would give it.

        Args:
            rows: int64 Tensor [n] of row numbers, ascending.

        Returns:
            float32 Tensor [n, width], on the CPU.
        """
        blocks, which = torch.unique_consecutive(rows // self.block, return_inverse=True)
        drawn = torch.empty(len(blocks), self.block, self.width, dtype=torch.float32)
        _run_all(self.jobs(drawn, blocks.tolist()))
        return drawn[which, rows % self.block]

    def jobs(self, targets: Iterable[Tensor], blocks: Iterable[int]) -> list[Fill]:
        """What is to be made: each block into the first rows of its target."""
        if not self.count * self.width:
            return []
        return [
            self.job(target[: self.count - block * self.block], block)
            for target, block in zip(targets, blocks, strict=True)
        ]


def rows_of(
    parts: Sequence[Part], start: int, stop: int, out: Tensor | None = None
) -> list[Tensor]:
    """The same rows of several directions' parts of one parameter, made together.

    Args:
        parts: The directions' parts, at least one, of any kinds.
        start: First row.
        stop: Row after the last.
        out: Memory to work in, a flat float32 Tensor on the CPU; used if it is large enough.

    Returns:
        For each part a float32 Tensor [stop - start, width] on the CPU, valid until `out` is used
        again.
    """
    one = parts[0]
    first, last = start // one.block, -(-stop // one.block)
    height = min(last * one.block, one.count) - first * one.block
    entries = len(parts) * height * one.width
    if out is None or out.numel() < entries:
        out = torch.empty(entries, dtype=torch.float32)
    drawn = out[:entries].view(len(parts), height, one.width)
    jobs = [
        job
        for part, whole in zip(parts, drawn, strict=True)
        for job in part.jobs(whole.split(one.block), range(first, last))
    ]
    _run_all(jobs)
    offset = first * one.block
    return list(drawn[:, start - offset : stop - offset])


def _run_all(jobs: list[Fill]) -> None:
    """Run on all processors that torch would use in this thread."""
    threads = torch.get_num_threads()
    if len(jobs) <= 2 or threads == 1:
        return _run(jobs)
    share = -(-len(jobs) // threads)
    for _ in pool(threads).map(_run, [jobs[at : at + share] for at in range(0, len(jobs), share)]):
        pass
    return None


def _run(jobs: list[Fill]) -> None:
    generator = torch.Generator()
    with torch.no_grad():
        for job in jobs:
            job(generator)
