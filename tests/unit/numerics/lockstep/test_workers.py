"""The threads that take products: nothing of them shows in figures, and nothing outlives a run."""

from __future__ import annotations

import signal
import threading
import time
from _thread import interrupt_main
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from pytest_linearity import Directions
from pytest_linearity.numerics import threads as pools
from pytest_linearity.numerics.lockstep.dual import unpack_dual
from pytest_linearity.numerics.lockstep.evaluation import Evaluation
from pytest_linearity.numerics.lockstep.scheduler import Lockstep
from pytest_linearity.numerics.lockstep.workers import Bench, Load, Task, Workers
from pytest_linearity.numerics.precision import Arithmetic

CPU = torch.device("cpu")
LARGE = Load(entries=1 << 22, rows=512, drawn=1, tasks=1)
THREADS = 3


@pytest.fixture
def threads() -> Iterator[int]:
    """Torch would use so many."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield THREADS
    torch.set_num_threads(before)


def test_every_task_is_done_once_several_at_a_time(threads: int) -> None:
    meeting = threading.Barrier(threads)
    done: list[int] = []

    def task(number: int) -> Task:
        def do(bench: Bench) -> None:
            meeting.wait(timeout=60)
            done.append(number)

        return do

    Workers(CPU, torch.float32).run(map(task, range(4 * threads)), LARGE)
    assert sorted(done) == list(range(4 * threads))


def test_each_has_one_processor_and_nobody_else_has_less(threads: int) -> None:
    """Otherwise every one of them would bring a team of threads to each of its products."""
    pools._pool.cache_clear()
    counts: list[int] = []

    def task(bench: Bench) -> None:
        counts.append(torch.get_num_threads())
        assert not torch.is_grad_enabled()

    Workers(CPU, torch.float32).run([task] * 20, LARGE)
    assert counts == [1] * 20
    assert torch.get_num_threads() == threads
    other = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert counts[-1] == threads


@pytest.mark.parametrize("case", ["small", "cuda", "one"])
def test_where_nothing_is_won_the_caller_does_it(case: str, threads: int) -> None:
    idents: list[int] = []
    if case == "one":
        torch.set_num_threads(1)
    device = torch.device("cuda") if case == "cuda" else CPU
    load = replace(LARGE, entries=1000) if case == "small" else LARGE
    Workers(device, torch.float32).run(
        [lambda bench: idents.append(threading.get_ident())] * 3, load
    )
    assert idents == [threading.get_ident()] * 3


@pytest.mark.parametrize("where", ["task", "iterator"])
def test_a_failure_ends_all_of_them(where: str, threads: int) -> None:
    begun, ended = [], []

    def work(bench: Bench) -> None:
        begun.append(0)
        time.sleep(0.01)
        ended.append(0)

    def fail(bench: Bench) -> None:
        raise MemoryError("no room")

    def tasks() -> Iterator[Task]:
        yield from [work] * 4
        if where == "iterator":
            raise MemoryError("no room")
        yield fail
        yield from [work] * 1000

    with pytest.raises(MemoryError, match="no room"):
        Workers(CPU, torch.float32).run(tasks(), LARGE)
    assert len(begun) == len(ended) < 100


def test_an_interrupt_waits_for_tasks_that_are_running(threads: int) -> None:
    """What they write to may be freed by whoever is interrupted."""
    running: set[int] = set()

    def task(number: int) -> Task:
        def do(bench: Bench) -> None:
            running.add(number)
            if number == 5:
                interrupt_main(signal.SIGINT)
            time.sleep(0.02)
            running.discard(number)

        return do

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            Workers(CPU, torch.float32).run(map(task, range(10**6)), LARGE)
        assert not running
    finally:
        signal.signal(signal.SIGINT, before)
    # They are there for the next.
    test_every_task_is_done_once_several_at_a_time(threads)


def test_a_bench_has_room_for_every_use() -> None:
    bench = Bench()
    first = bench.room("a", (2, 3), torch.float32, CPU).fill_(1)
    other = bench.room("b", (2, 3), torch.float32, CPU).fill_(2)
    wide = bench.room("a", (2, 3), torch.float64, CPU).fill_(3)
    assert (first == 1).all()
    assert (other == 2).all()
    assert (wide == 3).all()
    smaller = bench.room("a", (3, 1), torch.float32, CPU)
    assert smaller.data_ptr() == first.data_ptr()
    assert smaller.shape == (3, 1)
    assert bench.room("a", (7, 3), torch.float32, CPU).shape == (7, 3)


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (Load(1 << 26, 512, 8, 9), 1 << 20),  # the largest
        (Load(1 << 22, 512, 1, 1), (1 << 22) // 12),  # four for each of three threads …
        (Load(1 << 20, 512, 4, 4), (1 << 20) // 3),  # … of which a slice makes several
        (Load(1 << 20, 512, 1, 1), 1 << 17),  # enough to draw in each
        (Load(1 << 20, 512, 4, 1), (1 << 20) // 12),  # of all directions together
        (Load(1 << 14, 512, 1, 1), 1 << 20),  # nothing to share
    ],
)
def test_slices_are_as_many_as_threads_need(load: Load, expected: int, threads: int) -> None:
    assert Workers(CPU, torch.float32).slice_entries(load) == expected


def test_slices_of_wider_entries_have_fewer(threads: int) -> None:
    assert Workers(CPU, torch.float64).slice_entries(Load(1 << 26, 512, 8, 9)) == 1 << 19


def test_one_thread_has_nobody_to_share_with(threads: int) -> None:
    torch.set_num_threads(1)
    assert Workers(CPU, torch.float32).slice_entries(LARGE) == 1 << 20
    assert Workers(torch.device("cuda"), torch.float32).slice_entries(LARGE) == 1 << 22


def test_a_load_is_small_if_there_is_little_to_draw_and_to_multiply() -> None:
    assert Load(1 << 20, 16, 0, 1).is_small
    assert not Load(1 << 20, 1 << 11, 0, 1).is_small
    assert not Load(1 << 17, 1, 1, 1).is_small
    assert not Load(1 << 14, 1, 8, 1).is_small
    assert Load(1 << 14, 1, 7, 1).is_small


class Wide(nn.Module):
    """Two layers, each large enough to be shared out."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(700, 600, dtype=dtype)
        self.second = nn.Linear(600, 500, bias=False, dtype=dtype)


@pytest.mark.parametrize("rows", [3, 40], ids=["stacked", "formed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_products_are_what_they_are_by_definition(
    rows: int, dtype: torch.dtype, threads: int
) -> None:
    """In float64, against (W + rδ) and dW = δ written out."""
    model = Wide(dtype)
    directions = Directions(model, 4)
    x = torch.randn(rows, 700, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    points = [(None, None), *((k, step) for k in range(4) for step in (None, 0.1, 2.0))]
    evaluations = [Evaluation(0, *point) for point in points]
    values: dict[Evaluation, Tensor] = {}

    def finished(evaluation: Evaluation, output: Tensor) -> None:
        primal, tangent = unpack_dual(output)
        values[evaluation] = primal if tangent is None else tangent

    def forward() -> Tensor:
        return model.second(model.first(x))

    arithmetic = Arithmetic(torch.float64, CPU)
    Lockstep(model, [forward], directions, arithmetic).run(evaluations, finished)
    theta = {name: value.detach().double() for name, value in model.named_parameters()}
    for evaluation in evaluations:
        # Sums of 700 products of about one: rounding of float64.
        expected = _expected(theta, directions, evaluation, x)
        torch.testing.assert_close(values[evaluation], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("rows", "tasks"), [(3, 1), (40, 3)], ids=["stacked", "formed"])
def test_the_load_is_what_there_is_to_do(
    rows: int, tasks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A baseline, and for each of two directions a JVP, which has two rows for one, and a step."""
    loads: list[Load] = []
    run = Workers.run

    def noted(self: Workers, what: Iterator[Task], load: Load) -> None:
        loads.append(load)
        run(self, what, load)

    monkeypatch.setattr(Workers, "run", noted)
    model = Wide(torch.float32)
    x = torch.ones(rows, 700)
    points = [(None, None), *((k, step) for k in range(2) for step in (None, 0.1))]
    directions = Directions(model, 2, scope="regex:second.weight")
    Lockstep(
        model,
        [lambda: model.second(model.first(x))],
        directions,
        Arithmetic(torch.float32, CPU),
        share_trunk=False,
    ).run([Evaluation(0, *point) for point in points], lambda evaluation, output: None)
    both = rows * (1 + 2 * (2 + 1))
    assert loads == [Load(700 * 600, both, 0, tasks), Load(600 * 500, both, 2, tasks)]


def _expected(
    theta: dict[str, Tensor], directions: Directions, evaluation: Evaluation, x: Tensor
) -> Tensor:
    k, step = evaluation.direction, evaluation.step or 0.0
    delta = {n: torch.zeros_like(theta[n]) for n in theta}
    if k is not None:
        delta = {n: directions.tensor(k, n).double() for n in theta}
    (w, b, v), (dw, db, dv) = (list(values.values()) for values in (theta, delta))
    if evaluation.is_jvp:
        return (x @ dw.T + db) @ v.T + (x @ w.T + b) @ dv.T
    return (x @ (w + step * dw).T + b + step * db) @ (v + step * dv).T
