"""Reading ahead: while rows of a parameter are in use, the next ones are read and moved.

What comes next is known from the last time that the model was run. A wrong guess costs a read in
vain, and never changes what is served.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, TypeAlias

from torch import Tensor

from pytest_linearity.numerics.lockstep.order import Rows

Read: TypeAlias = Callable[[Rows], Tensor]
"""Gives stored rows, Tensor [rows, width], where the model has them."""

AHEAD_BYTES = 64 << 20
"""How much is read ahead, in the dtype of the checkpoint."""

_SMALL_BYTES = 1 << 16
"""What is not worth a word with another thread."""


class Begun(NamedTuple):
    """Rows on their way."""

    tensor: Tensor
    """The rows, perhaps not there yet."""
    ready: Any = None
    """What to wait for before they are used; None for nothing."""


class Source(Protocol):
    """Where rows come from, in two steps, the first of which may run ahead of use."""

    def begin(self, rows: Rows) -> Begun:
        """Read and move; runs in a thread of its own, or in the caller's."""

    def finish(self, begun: Begun) -> Tensor:
        """Make ready for use what was begun; runs in the caller's thread."""
        return begun.tensor

    def used(self, rows: Rows) -> None:
        """Told when rows are not needed any more, in the thread that begins."""
        return

    def close(self) -> None:
        """Told when nothing is needed any more."""
        return


class Prefetch:
    """Stored rows, begun ahead of their use within a bound of bytes."""

    def __init__(
        self, read: Read, source: Source | None, *, ahead: int = AHEAD_BYTES, at_once: int = 1
    ) -> None:
        """A thread that reads, if there is a source; `close` ends it.

        Args:
            read: Gives stored rows.
            source: Reads and moves them; None where nothing is won by it.
            ahead: How many bytes may be begun ahead.
            at_once: How many rows, taken one after another, may be in use at the same time.
        """
        self._read = read
        self._source = source
        self._ahead = ahead
        self._begun: dict[Rows, Future[Begun]] = {}
        self._in_use: deque[Rows] = deque()
        self._at_once = at_once
        self._worker = ThreadPoolExecutor(1, "linearity-reading")

    def take(self, rows: Rows, following: Iterable[Rows] = ()) -> Tensor:
        """Stored rows, valid until as many others are taken as may be in use at once.

        Args:
            rows: Which.
            following: What will probably be taken next, each once; looked at no further than the
                bound reaches.
        """
        stored = self._read(rows)
        if self._source is None or stored.nbytes < _SMALL_BYTES:
            return stored
        coming = self._begun.pop(rows, None)
        if coming is not None and coming.cancel():
            coming = None  # not begun, so nothing is won by waiting for the thread to come to it
        self._begin(self._source, following)
        begun = self._source.begin(rows) if coming is None else coming.result()
        if len(self._in_use) == self._at_once:
            self._worker.submit(self._source.used, self._in_use.popleft())
        self._in_use.append(rows)
        return self._source.finish(begun)

    def close(self) -> None:
        """End the thread, and wait until it has ended."""
        self._worker.shutdown(wait=True, cancel_futures=True)
        self._begun.clear()
        if self._source is not None:
            self._source.close()

    def _begin(self, source: Source, following: Iterable[Rows]) -> None:
        """Begin what comes next, and give up what does not come after all."""
        expected = []
        room = self._ahead
        for rows in following:
            size = self._read(rows).nbytes
            room -= size
            if room < 0:
                break
            if size >= _SMALL_BYTES:
                expected.append(rows)
        for rows in self._begun.keys() - expected:
            self._begun.pop(rows).cancel()
        for rows in expected:
            if rows not in self._begun:
                self._begun[rows] = self._worker.submit(source.begin, rows)
