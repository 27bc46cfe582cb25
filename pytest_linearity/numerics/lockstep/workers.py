"""Threads that take the products with one matrix, each on a processor of its own.

A product that is spread over all processors ends when the slowest of them does, and then the others
spin for milliseconds where the next direction is to be drawn. The products of different directions
and slices are independent of each other, so that none need be spread at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, wait
from dataclasses import dataclass
from math import prod
from threading import Lock
from typing import TypeAlias

import torch
from torch import Tensor

from pytest_linearity.numerics.threads import pool

_SLICE_BYTES = 4 << 20
"""Size of a slice: the slice, a direction's part of it and their sum stay in cache between being
made and being multiplied."""

_DEVICE_SLICE_BYTES = 16 << 20
"""The same on other devices, where caches are no concern and launches cost more."""

_UNDER_WAY_BYTES = 32 << 20
"""Size of the slices of all threads together."""

_LEAST_DRAWN = 1 << 17
"""Entries to draw, of all directions together, that are worth a word with another thread."""

_LEAST_FLOPS = 1 << 32
"""Operations of products that are. Torch's own threads are awake after a forward, and take less
work at once; ours would share processors with them."""

_TASKS_PER_THREAD = 4
"""So many at least, so that no thread idles for long while the last one works."""

_SECONDS_ASLEEP = 0.2
"""How long the caller may not notice that it is interrupted."""


class Bench:
    """What one thread works with: memory for one task after another, as fresh pages are dear."""

    def __init__(self) -> None:
        """A bench that gets its memory as it is asked for."""
        self._memory: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}
        self.converted: object = None
        """Whose values lie in the room for `value`."""

    def room(
        self, use: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
    ) -> Tensor:
        """A Tensor of any contents, valid until room is asked for the same use again."""
        size = prod(shape)
        memory = self._memory.get((use, dtype, device))
        if memory is None or memory.numel() < size:
            memory = torch.empty(size, dtype=dtype, device=device)
            self._memory[use, dtype, device] = memory
        return memory[:size].view(shape)


Task: TypeAlias = Callable[[Bench], None]
"""Does a part of the work, independent of all others."""


@dataclass(frozen=True)
class Load:
    """How much there is to do with one matrix."""

    entries: int
    """Of the matrix."""
    rows: int
    """Of all products together."""
    drawn: int
    """Along how many directions the matrix moves."""
    tasks: int
    """That each slice of it makes."""

    @property
    def is_small(self) -> bool:
        """Whether other threads would take longer to begin than this takes."""
        flops = 2 * self.rows * self.entries
        return self.drawn * self.entries < _LEAST_DRAWN and flops < _LEAST_FLOPS


class Workers:
    """As many threads as torch would use; for other devices than the CPU the caller's own."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        """As many as there is use for; they start with the first work that is worth it.

        Args:
            device: Where the work is done.
            dtype: Floating dtype of the products.
        """
        self._count = thread_count(device)
        self._largest = largest_slice(device, dtype)
        self._benches = deque(Bench() for _ in range(self._count))

    def slice_entries(self, load: Load) -> int:
        """How many entries of a matrix make a slice."""
        if self._count == 1 or load.is_small:
            return self._largest
        even = load.entries * load.tasks // (_TASKS_PER_THREAD * self._count)
        return min(max(even, _LEAST_DRAWN // max(1, load.drawn)), self._largest)

    def run(self, tasks: Iterable[Task], load: Load) -> None:
        """Run all tasks; those to come are asked for by whoever has time.

        Raises:
            BaseException: What a task raises, when no other is running any more.
        """
        if self._count == 1 or load.is_small:
            for task in tasks:
                self._do(task)
            return
        shared = _Shared(tasks)
        threads = pool(self._count)
        workers = {threads.submit(self._work, shared) for _ in range(self._count)}
        running = workers
        try:
            while running:
                # An interrupt that another thread asks for wakes nobody.
                done, running = wait(running, _SECONDS_ASLEEP, FIRST_EXCEPTION)
                for worker in done:
                    worker.result()
        finally:
            shared.close()
            wait(workers)

    def _work(self, tasks: _Shared) -> None:
        """One thread's part: task after task, without a word to the caller in between."""
        for task in tasks:
            self._do(task)

    def _do(self, task: Task) -> None:
        bench = self._benches.pop()
        try:
            with torch.no_grad():
                task(bench)
        finally:
            self._benches.append(bench)


class _Shared:
    """An iterator that several threads take from."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks = iter(tasks)
        self._lock = Lock()
        self._closed = False

    def __iter__(self) -> _Shared:
        return self

    def __next__(self) -> Task:
        with self._lock:
            if self._closed:
                raise StopIteration
            return next(self._tasks)

    def close(self) -> None:
        """Nobody gets a task any more."""
        self._closed = True


def thread_count(device: torch.device) -> int:
    """How many threads take products for a device."""
    return torch.get_num_threads() if device.type == "cpu" else 1


def largest_slice(device: torch.device, dtype: torch.dtype) -> int:
    """The most entries of a slice, of which every thread works on one."""
    size = _DEVICE_SLICE_BYTES
    if device.type == "cpu":
        size = min(_SLICE_BYTES, _UNDER_WAY_BYTES // thread_count(device))
    return max(_LEAST_DRAWN, size // dtype.itemsize)
