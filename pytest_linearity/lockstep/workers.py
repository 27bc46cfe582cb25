"""Threads that take the products with one matrix, each on a processor of its own.

A product that is spread over all processors ends when the slowest of them does, and then the others
spin for milliseconds where the next direction is to be drawn. The products of different directions
and slices are independent of each other, so that none need be spread at all.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from math import prod
from threading import Barrier, Lock
from typing import TypeAlias

import torch
from torch import Tensor

_SLICE_ENTRIES = 1 << 20
"""Entries of a slice: a few MB, so that the slice, a direction's part of it and their sum stay in
cache between being made and being multiplied."""

_DEVICE_SLICE_ENTRIES = 1 << 22
"""The same on other devices, where caches are no concern and launches cost more."""

_LEAST_ENTRIES = 1 << 17
"""Less is not worth a word with another thread."""

_UNDER_WAY_ENTRIES = 1 << 23
"""Entries of the slices of all threads together."""

_TASKS_PER_THREAD = 4
"""So many at least, so that no thread idles for long while the last one works."""

_SECONDS_ASLEEP = 0.2
"""How long the caller may not notice that it is interrupted."""


class Bench:
    """Memory that one task after another works in: fresh pages cost more than a sum."""

    def __init__(self) -> None:
        """No memory yet."""
        self._memory: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

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


class Workers:
    """As many threads as torch would use; for other devices than the CPU the caller's own."""

    def __init__(self, device: torch.device) -> None:
        """No thread is started yet; `device` is where the work is done."""
        self._count = thread_count(device)
        self._largest = largest_slice(device)
        self._benches = deque(Bench() for _ in range(self._count))

    def slice_entries(self, entries: int, tasks: int) -> int:
        """How many entries of a matrix make a slice.

        Args:
            entries: Of the whole matrix.
            tasks: How many tasks each slice makes.
        """
        if self._count == 1:
            return self._largest
        even = entries * tasks // (_TASKS_PER_THREAD * self._count)
        return min(max(even, _LEAST_ENTRIES), self._largest)

    def run(self, tasks: Iterable[Task], *, entries: int) -> None:
        """Run all tasks; those to come are asked for by whoever has time.

        Args:
            tasks: The tasks.
            entries: Of the whole matrix.

        Raises:
            BaseException: What a task raises, when no other is running any more.
        """
        if entries < _LEAST_ENTRIES or self._count == 1:
            for task in tasks:
                self._do(task)
            return
        shared = _Shared(tasks)
        pool = _pool(os.getpid(), self._count)
        workers = {pool.submit(self._work, shared) for _ in range(self._count)}
        running = workers
        try:
            while running:
                # An interrupt that another thread asks for wakes nobody.
                done, running = wait(running, timeout=_SECONDS_ASLEEP)
                for worker in done:
                    worker.result()
        finally:
            shared.close()
            wait(workers)

    def _work(self, tasks: _Shared) -> None:
        """One thread's part: task after task, without a word to the caller in between."""
        try:
            for task in tasks:
                self._do(task)
        finally:
            tasks.close()

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


def largest_slice(device: torch.device) -> int:
    """The most entries of a slice, of which every thread works on one."""
    if device.type != "cpu":
        return _DEVICE_SLICE_ENTRIES
    return min(_SLICE_ENTRIES, max(_LEAST_ENTRIES, _UNDER_WAY_ENTRIES // thread_count(device)))


@cache
def _pool(process: int, count: int) -> ThreadPoolExecutor:
    """Threads that live on: what a library keeps for a thread is lost when the thread ends.

    `process` is asked for as a forked process has no threads but one.
    """
    started = Barrier(count + 1)

    def start() -> None:
        torch.set_num_threads(1)
        # Asked for once, or torch would look up what holds for new threads at the first use.
        torch.get_num_threads()
        started.wait()

    pool = ThreadPoolExecutor(count, "linearity-products")
    for _ in range(count):
        pool.submit(start)
    try:
        started.wait()
    except BaseException:
        started.abort()
        raise
    finally:
        # What was set there holds for threads of others yet to come, too.
        torch.set_num_threads(count)
    return pool
