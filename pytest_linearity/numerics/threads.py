"""The threads of a process, each on a processor of its own: they draw, and they take products."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier

import torch


def pool(count: int) -> ThreadPoolExecutor:
    """So many threads, in each of which torch uses one.

    They live on: what a library keeps for a thread is lost when the thread ends. A forked process
    gets threads of its own, as it has none but the one that forked.
    """
    return _pool(os.getpid(), count)


@cache
def _pool(process: int, count: int) -> ThreadPoolExecutor:
    started = Barrier(count + 1)

    def start() -> None:
        torch.set_num_threads(1)
        # Asked for once, or torch would look up what holds for new threads at the first use.
        torch.get_num_threads()
        started.wait()

    threads = ThreadPoolExecutor(count, "linearity")
    for _ in range(count):
        threads.submit(start)
    try:
        started.wait()
    except BaseException:
        started.abort()
        raise
    finally:
        # What was set there holds for threads of others yet to come, too.
        torch.set_num_threads(count)
    return threads
