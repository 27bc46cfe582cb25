"""Random unit directions in parameter space, drawn in any order and in any part.

A direction is uniform on the unit sphere of all parameters in scope together. Drawing it the usual
way (a Gaussian vector over its norm) needs the whole vector before the first entry is known. Here
the squared norm of every *draw block*, a few rows of one tensor, is drawn first: for a Gaussian
vector it is chi-squared with as many degrees of freedom as the block has entries, and independent
of the block's own direction, which is uniform on its sphere. So

    δ_b = z_b / ‖z_b‖ · √(s_b / Σ s),    z_b ~ N(0, I),  s_b ~ χ²(d_b),

has the same distribution (G. Marsaglia, Choosing a point from the surface of a sphere, 1972, for
the Gaussian construction), and a block costs nothing but itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from math import prod
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pytest_linearity.scope import parameters_in_scope, parse_scope

_BLOCK_ENTRIES = 32768
"""Entries of a draw block: small enough for the cache and for the rows a few tokens touch, and the
largest size torch works on with one thread, so that a value never depends on the thread count."""


class Directions:
    """`count` unit directions over the parameters in scope.

    Values depend on the seed, the direction's index and the parameter's canonical name and shape
    alone, up to the norm of the whole, which the scope decides. They are the same on every device,
    in every order of drawing, and however often they are drawn.
    """

    def __init__(self, model: nn.Module, count: int, seed: int = 42, scope: str = "full") -> None:
        """Plan the directions; nothing is drawn but the norms of the blocks.

        Args:
            model: Any module; only its parameters' names and shapes are read.
            count: How many directions, at least 1.
            seed: Seeds all of them.
            scope: A `param_scope`.

        Raises:
            ConfigError: If the scope is unknown, or holds no parameter of the model.
            ValueError: If `count` is below 1.
        """
        if count < 1:
            raise ValueError(f"count is {count}; at least one direction is needed")
        self.count = count
        self.seed = seed
        self.scope = scope
        self.names = parameters_in_scope(model, parse_scope(scope))
        chosen = set(self.names)
        self.shapes = {n: tuple(p.shape) for n, p in model.named_parameters() if n in chosen}
        self._totals = [self._squared_norm(k) for k in range(count)]

    @property
    def parameters(self) -> int:
        """How many parameters a direction moves: the dimension of its sphere plus one."""
        return sum(prod(shape) for shape in self.shapes.values())

    def tensor(self, k: int, name: str) -> Tensor:
        """Direction k's part of one parameter.

        Args:
            k: Index of the direction, from 0.
            name: Canonical name of a parameter in scope.

        Returns:
            float32 Tensor of the parameter's shape, on the CPU.

        Raises:
            KeyError: If the parameter is not in scope.
            IndexError: If there is no such direction.
        """
        part = self.part(k, name)
        return part.rows(0, part.count).reshape(self.shapes[name])

    def part(self, k: int, name: str) -> DirectionPart:
        """Direction k's part of one parameter, to be drawn a few rows at a time.

        Raises:
            KeyError: If the parameter is not in scope.
            IndexError: If there is no such direction.
        """
        if not 0 <= k < self.count:
            raise IndexError(f"direction {k} of {self.count}")
        return DirectionPart(self.seed, k, name, self.shapes[name], self._totals[k])

    def _squared_norm(self, k: int) -> float:
        # Summed in the order of the names, not of the scope: floating-point sums know their order.
        return sum(
            float(_squared_norms(self.seed, k, name, self.shapes[name]).sum())
            for name in sorted(self.names)
        )


class DirectionPart:
    """One direction's part of one parameter, as a matrix of rows.

    A parameter of two or more dimensions has its last dimension as the length of a row and all
    others flattened as the rows; a vector or scalar is one row.
    """

    def __init__(self, seed: int, k: int, name: str, shape: tuple[int, ...], total: float) -> None:
        """Plan one part; `total` is the squared norm of the whole Gaussian vector."""
        self.count, self.width = matrix_shape(shape)
        self._block = block_rows(self.width)
        norms = _squared_norms(seed, k, name, shape)
        self._norms = np.sqrt(norms / total)
        # The Mersenne Twister of torch takes 32 bits of a seed. Two of n blocks coincide with
        # probability n²/2³³, and would then be parallel: of no weight among so many.
        self._seeds = _sequence(seed, k, name, "values").generate_state(len(norms), np.uint32)

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
        blocks, which = torch.unique_consecutive(rows // self._block, return_inverse=True)
        drawn = torch.empty(len(blocks), self._block, self.width, dtype=torch.float32)
        _draw_all(self._jobs(drawn, blocks.tolist()))
        return drawn[which, rows % self._block]

    def _jobs(self, targets: Iterable[Tensor], blocks: Iterable[int]) -> list[_Job]:
        """What is to be drawn: each block into the first rows of its target."""
        return [
            (
                target[: self.count - block * self._block],
                int(self._seeds[block]),
                float(self._norms[block]),
            )
            for target, block in zip(targets, blocks, strict=True)
        ]


def rows_of(
    parts: Sequence[DirectionPart], start: int, stop: int, out: Tensor | None = None
) -> list[Tensor]:
    """The same rows of several directions' parts of one parameter, drawn together.

    Args:
        parts: The directions' parts, at least one.
        start: First row.
        stop: Row after the last.
        out: Memory to draw into, a flat float32 Tensor on the CPU; used if it is large enough.

    Returns:
        For each part a float32 Tensor [stop - start, width] on the CPU, valid until `out` is used
        again.
    """
    one = parts[0]
    first, last = start // one._block, -(-stop // one._block)
    height = min(last * one._block, one.count) - first * one._block
    entries = len(parts) * height * one.width
    if out is None or out.numel() < entries:
        out = torch.empty(entries, dtype=torch.float32)
    drawn = out[:entries].view(len(parts), height, one.width)
    jobs = [
        job
        for part, whole in zip(parts, drawn, strict=True)
        for job in part._jobs(whole.split(one._block), range(first, last))
    ]
    _draw_all(jobs)
    offset = first * one._block
    return list(drawn[:, start - offset : stop - offset])


_Job: TypeAlias = tuple[Tensor, int, float]
"""What is drawn: into which memory, from which seed, with which norm."""


def _draw_all(jobs: list[_Job]) -> None:
    """Draw on all processors."""
    if len(jobs) <= 2:
        return _draw(jobs)
    share = -(-len(jobs) // max(1, torch.get_num_threads()))
    for _ in _pool().map(_draw, [jobs[at : at + share] for at in range(0, len(jobs), share)]):
        pass
    return None


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and row length of a parameter seen as a matrix; see `DirectionPart`."""
    if len(shape) < 2:
        return 1, prod(shape)
    return prod(shape[:-1]), shape[-1]


def _draw(jobs: list[_Job]) -> None:
    generator = torch.Generator()
    with torch.no_grad():
        for target, seed, norm in jobs:
            target.normal_(generator=generator.manual_seed(seed))
            length = float(torch.linalg.vector_norm(target))
            # A block of one entry can be drawn as exactly zero once in 2³² times.
            target.mul_(norm / length if length else 0.0)


def block_rows(width: int) -> int:
    """Rows of a draw block, for rows of some length."""
    return max(1, _BLOCK_ENTRIES // max(1, width))


def _squared_norms(seed: int, k: int, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """χ² draws, one for each draw block of a parameter."""
    count, width = matrix_shape(shape)
    rows = block_rows(width)
    blocks = -(-count // rows) if width else 0
    freedom = np.full(blocks, float(rows * width))
    if blocks:
        freedom[-1] = (count - (blocks - 1) * rows) * width
    return np.random.Generator(np.random.PCG64(_sequence(seed, k, name, "norms"))).chisquare(
        freedom
    )


def _sequence(seed: int, k: int, name: str, what: str) -> np.random.SeedSequence:
    key = "\0".join((str(seed), str(k), name, what)).encode()
    return np.random.SeedSequence(
        int.from_bytes(hashlib.blake2b(key, digest_size=16).digest(), "big")
    )


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="linearity-directions")
