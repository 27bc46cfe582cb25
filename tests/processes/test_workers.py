"""The threads that take products, in a process that is forked."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import torch

from pytest_linearity.numerics.lockstep.workers import Load, Workers

CPU = torch.device("cpu")
LARGE = Load(entries=1 << 22, rows=512, drawn=1, tasks=1)


@pytest.fixture
def threads() -> Iterator[int]:
    """Torch would use so many."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(threads: int) -> None:
    def run() -> int:
        done: list[int] = []
        Workers(CPU, torch.float32).run([lambda bench: done.append(os.getpid())] * 10, LARGE)
        return done.count(os.getpid())

    assert run() == 10
    child = os.fork()
    if not child:
        signal.alarm(60)
        os._exit(0 if run() == 10 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
