"""A time limit that is reached in the midst of something, as plugins for timeouts have it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def time_limit() -> Iterator[None]:
    """While this is open, `strike` raises what a time limit raises: an error of the usual kind."""

    def reached(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("the test took too long")

    before = signal.signal(signal.SIGTERM, reached)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def strike(*_: Any, **__: Any) -> Any:
    """Reach the limit now; in place of any function."""
    signal.raise_signal(signal.SIGTERM)
