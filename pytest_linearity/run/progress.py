"""The progress bar of a measurement."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm


class ProgressBar:
    """A bar on a terminal, and silence anywhere else.

    An instance is the `progress` of an `Analysis`: called with (done, total). It appears with the
    first call and is gone when its `with` block ends, however it ends.
    """

    def __init__(
        self,
        stream: TextIO | None,
        label: str,
        *,
        column: Callable[[], int] = lambda: 0,
    ) -> None:
        """Nothing is shown yet.

        Args:
            stream: Where to draw, usually standard error; None for no bar at all.
            label: What is being measured.
            column: The column of the cursor when the bar appears. A line begun by somebody else
                is left alone, and the cursor is put back where it was.
        """
        self._stream = stream if stream is not None and stream.isatty() else None
        self._label = label
        self._column_now = column
        self._column = 0
        self._bar: tqdm[NoReturn] | None = None

    def __enter__(self) -> ProgressBar:
        """The bar appears with the first call, not here: loading a checkpoint comes first."""
        return self

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` evaluations have finished."""
        if self._stream is None:
            return
        if self._bar is None:
            self._bar = self._appear(self._stream, total)
        self._bar.update(done - self._bar.n)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away and put the cursor back."""
        if self._stream is None or self._bar is None:
            return
        self._bar.close()
        self._bar = None
        if self._column:
            self._stream.write(f"\x1b[1A\x1b[{self._column}C")
            self._stream.flush()

    def _appear(self, stream: TextIO, total: int) -> tqdm[NoReturn]:
        from tqdm import tqdm

        self._column = self._column_now()
        if self._column:
            stream.write("\n")
        return tqdm(
            total=total,
            desc=self._label,
            unit="evaluation",
            file=stream,
            leave=False,
            dynamic_ncols=True,
            bar_format="{desc}: {percentage:3.0f}% |{bar}| {n}/{total} [{elapsed}<{remaining}]",
        )
