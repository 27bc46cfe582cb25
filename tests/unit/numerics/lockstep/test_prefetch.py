"""Reading ahead: bounded, forgiving of wrong guesses, and never a different figure."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_linearity import Config
from pytest_linearity.numerics import mapped_files
from pytest_linearity.numerics.lockstep.mapped import Mapped
from pytest_linearity.numerics.lockstep.order import Order, Reading, Rows
from pytest_linearity.numerics.lockstep.prefetch import Begun, Prefetch, Source
from pytest_linearity.numerics.lockstep.sources import prefetch_for
from pytest_linearity.numerics.mapped_files import FileMaps, allowed_memory
from pytest_linearity.run.analysis import Analysis
from tests.support.checkpoints import tiny_llama

LINUX = Path("/proc/self/maps").exists()
needs_linux = pytest.mark.skipif(not LINUX, reason="needs /proc")

STORED = torch.arange(64 * 1024, dtype=torch.float32).view(64, 1024)
"""Rows of 4 KB."""


def read(rows: Rows) -> Tensor:
    return STORED[rows.start : rows.stop]


def rows_at(place: int) -> Rows:
    """Sixteen rows of 4 KB, just large enough to be read ahead."""
    return Rows("w", 16 * place, 16 * (place + 1))


class Noting(Source):
    """Notes what is begun, and in which thread."""

    def __init__(self) -> None:
        self.begun: list[tuple[Rows, str]] = []
        self.retired: list[Rows] = []
        self.closed = False

    def begin(self, rows: Rows) -> Begun:
        self.begun.append((rows, threading.current_thread().name))
        return Begun(read(rows), "ready")

    def finish(self, begun: Begun) -> Tensor:
        assert begun.ready == "ready"
        return begun.tensor

    def used(self, rows: Rows) -> None:
        self.retired.append(rows)

    def close(self) -> None:
        self.closed = True


def test_what_follows_is_begun_in_another_thread() -> None:
    source = Noting()
    prefetch = Prefetch(read, source, ahead=1 << 20)
    for place in range(4):
        taken = prefetch.take(rows_at(place), map(rows_at, range(place + 1, 4)))
        torch.testing.assert_close(taken, read(rows_at(place)), rtol=0, atol=0)
    prefetch.close()
    assert sorted(rows for rows, _ in source.begun) == [rows_at(k) for k in range(4)]
    threads = dict(source.begun)
    assert threads.pop(rows_at(0)) == threading.current_thread().name
    assert any(name.startswith("linearity-reading") for name in threads.values())
    assert source.closed
    assert not any(t.name.startswith("linearity-reading") for t in threading.enumerate())


def test_no_more_is_begun_than_the_bound() -> None:
    source = Noting()
    prefetch = Prefetch(read, source, ahead=2 * 16 * 4096)
    asked = []

    def following():
        for place in range(1, 4):
            asked.append(place)
            yield rows_at(place)

    prefetch.take(rows_at(0), following())
    prefetch._worker.submit(lambda: None).result()
    assert {rows for rows, _ in source.begun} == {rows_at(0), rows_at(1), rows_at(2)}
    assert asked == [1, 2, 3]
    prefetch.close()


def test_a_wrong_guess_is_given_up_and_changes_nothing() -> None:
    source = Noting()
    prefetch = Prefetch(read, source, ahead=1 << 20)
    prefetch.take(rows_at(0), [rows_at(3)])
    taken = prefetch.take(rows_at(1), [rows_at(2)])
    torch.testing.assert_close(taken, read(rows_at(1)), rtol=0, atol=0)
    assert set(prefetch._begun) == {rows_at(2)}
    prefetch.close()


def test_what_the_thread_has_not_come_to_is_not_waited_for() -> None:
    source, busy = Noting(), threading.Event()
    prefetch = Prefetch(read, source, ahead=1 << 20)
    prefetch._worker.submit(busy.wait, 10)
    prefetch.take(rows_at(0), [rows_at(1)])
    prefetch.take(rows_at(1))
    busy.set()
    prefetch.close()
    assert [rows for rows, _ in source.begun] == [rows_at(0), rows_at(1)]
    assert {thread for _, thread in source.begun} == {threading.current_thread().name}


def test_small_rows_are_read_at_once() -> None:
    source = Noting()
    prefetch = Prefetch(read, source)
    prefetch.take(Rows("w", 0, 1), [Rows("w", 1, 2)])
    prefetch.close()
    assert not source.begun


@pytest.mark.parametrize("threads", [1, 3])
def test_what_is_used_is_told_once_nobody_can_be_using_it(threads: int) -> None:
    source = Noting()
    prefetch = Prefetch(read, source, at_once=threads)
    for place in range(threads):
        prefetch.take(rows_at(place))
    prefetch._worker.submit(lambda: None).result()
    assert not source.retired
    prefetch.take(rows_at(threads))
    prefetch._worker.submit(lambda: None).result()
    assert source.retired == [rows_at(0)]
    prefetch.close()


def test_as_many_rows_may_be_in_use_as_threads_take_products(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    prefetch = prefetch_for({"w": STORED}, torch.device("cpu"))
    assert prefetch._at_once == 3
    prefetch.close()


def test_an_error_in_the_thread_is_raised_where_rows_are_taken() -> None:
    class Broken(Noting):
        def begin(self, rows: Rows) -> Begun:
            if threading.current_thread().name.startswith("linearity-reading"):
                raise OSError("disk")
            return super().begin(rows)

    prefetch = Prefetch(read, Broken())
    prefetch.take(rows_at(0), [rows_at(1)])
    prefetch._worker.submit(lambda: None).result()
    with pytest.raises(OSError, match="disk"):
        prefetch.take(rows_at(1))
    prefetch.close()


def test_the_order_of_a_run_is_expected_in_the_next() -> None:
    order = Order()
    readings = [Reading(rows_at(place), sliced=True) for place in (2, 0, 1)]
    with order.learned():
        assert not list(order.after(rows_at(2)))
        for reading in readings:
            order.note(reading)
    assert list(order.after(rows_at(2))) == readings[1:]
    assert not list(order.after(rows_at(3)))


def test_a_run_that_fails_teaches_nothing() -> None:
    order = Order()
    with order.learned():
        order.note(Reading(rows_at(0), sliced=True))

    def failing() -> None:
        with order.learned():
            order.note(Reading(rows_at(1), sliced=True))
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    with order.learned():
        order.note(Reading(rows_at(2), sliced=True))
    assert list(order._places) == [rows_at(2)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("prefetch") / "tiny", hidden=256)


def measured(checkpoint: Path) -> Analysis:
    analysis = Analysis(
        Config(
            model_name_or_path=str(checkpoint),
            prompts=("What is 2 plus 2?", "Hi"),
            num_directions=2,
            radii=(0.3,),
            precision="float32",
        )
    )
    _ = analysis.measurement
    return analysis


@needs_linux
@pytest.mark.parametrize("scarce", [False, True])
def test_figures_do_not_depend_on_reading_ahead(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, scarce: bool
) -> None:
    begun: list[tuple[Rows, str]] = []
    begin = Mapped.begin

    def noting(self: Mapped, rows: Rows) -> Begun:
        begun.append((rows, threading.current_thread().name))
        return begin(self, rows)

    monkeypatch.setattr(Mapped, "begin", noting)
    monkeypatch.setattr(mapped_files, "allowed_memory", lambda: 1 << 10 if scarce else 1 << 50)
    ours = measured(checkpoint)
    assert any(name.startswith("linearity-reading") for _, name in begun)
    monkeypatch.setattr(FileMaps, "now", classmethod(lambda cls: cls((), None)))
    begun.clear()
    expected = measured(checkpoint)
    assert not begun
    torch.testing.assert_close(
        ours.measurement.relative_error, expected.measurement.relative_error, rtol=0, atol=0
    )


@pytest.fixture
def mapped_tensor(tmp_path: Path) -> Tensor:
    """A megabyte of a file, as checkpoints are mapped."""
    values = torch.arange(1 << 18, dtype=torch.float32)
    with (tmp_path / "weights").open("wb") as file:
        values.numpy().tofile(file)
        file.flush()
        os.fsync(file.fileno())  # pages that wait to be written are not taken back
    return torch.from_file(str(tmp_path / "weights"), shared=False, size=1 << 18)


def maps(*, scarce: bool) -> FileMaps:
    now = FileMaps.now()
    return FileMaps(now.spans, 1 if scarce else 1 << 50)


def test_mapped_rows_are_read_before_and_given_back_after_their_use() -> None:
    calls: list[tuple[str, int, int]] = []

    class Maps:
        def read(self, stored: Tensor) -> None:
            calls.append(("read", stored.data_ptr(), stored.nbytes))

        def let_go(self, stored: Tensor) -> None:
            calls.append(("let go", stored.data_ptr(), stored.nbytes))

    source = Mapped(read, Maps(), [STORED])  # type: ignore[arg-type]
    begun = source.begin(rows_at(1))
    assert begun.tensor.data_ptr() == read(rows_at(1)).data_ptr()
    source.used(rows_at(1))
    source.close()
    whole, part = STORED.data_ptr(), read(rows_at(1)).data_ptr()
    assert calls == [
        ("read", part, 16 * 4096),
        ("let go", part, 16 * 4096),
        ("let go", whole, STORED.nbytes),
    ]


@needs_linux
def test_files_are_told_from_other_memory(mapped_tensor: Tensor) -> None:
    now = FileMaps.now()
    assert now.hold(mapped_tensor)
    assert now.hold(mapped_tensor[1000:2000])
    assert not now.hold(torch.zeros(1 << 18))
    assert not now.hold(mapped_tensor[::2])
    assert not now.hold(mapped_tensor.to("meta"))


def resident(address: int) -> int:
    """Kilobytes of the mapping at an address that are in memory."""
    size, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = line.split()[0]
        if "-" in head and not head.endswith(":"):
            start, stop = (int(part, 16) for part in head.split("-"))
            inside = start <= address < stop
        elif inside and head == "Rss:":
            size = int(line.split()[1])
    return size


def takes_pages_back(file: Path) -> bool:
    """Whether the system follows the advice at all for this file; one that lies in memory stays."""
    pages = np.memmap(file, np.uint8, "c")
    pages.sum()
    before = resident(pages.ctypes.data)
    pages._mmap.madvise(21)
    return resident(pages.ctypes.data) < before


@needs_linux
def test_pages_are_given_back_where_memory_is_scarce_and_only_there(
    mapped_tensor: Tensor, tmp_path: Path
) -> None:
    if not takes_pages_back(tmp_path / "weights"):
        pytest.skip("this system keeps the pages of such files")
    address = mapped_tensor.data_ptr()
    maps(scarce=True).read(mapped_tensor)
    assert resident(address) == 1024
    maps(scarce=False).let_go(mapped_tensor)
    assert resident(address) == 1024
    maps(scarce=True).let_go(mapped_tensor)
    assert resident(address) < 1024
    torch.testing.assert_close(mapped_tensor, torch.arange(1 << 18).float(), rtol=0, atol=0)


@needs_linux
def test_what_was_written_is_never_lost(mapped_tensor: Tensor) -> None:
    mapped_tensor[5000:9000] = -1.0
    maps(scarce=True).let_go(mapped_tensor)
    assert bool((mapped_tensor[5000:9000] == -1).all())


@needs_linux
def test_the_limit_of_the_process_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda kind: (12345, 12345))
    assert allowed_memory() == 12345
