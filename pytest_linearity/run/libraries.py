"""The libraries that measuring takes, imported whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_linearity.config.config import Config

_ALARMS = ("SIGALRM", "SIGVTALRM", "SIGPROF")
"""Signals of timers, which Windows does not have."""


def import_for(config: Config) -> None:
    """Import what loading and measuring a config takes, see `whole`."""
    from pytest_linearity.checkpoint.load import import_transformers
    from pytest_linearity.probes.rows import import_datasets

    with whole():
        import_transformers()
        if config.dataset is not None:
            import_datasets()


@contextmanager
def whole() -> Iterator[None]:
    """Import something in this block, and let no timer cut that short.

    A test's time limit raises wherever it strikes, and a library whose import was cut cannot be
    imported again: torch, say, has registered half of its operators. What the handlers of timers
    have to say they say when the block is done, which takes seconds. Only the main thread of a
    process is ever interrupted so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in _ALARMS if hasattr(signal, name)]
    handlers = {n: handler for n in numbers if callable(handler := signal.getsignal(n))}
    rung: list[int] = []
    for number in handlers:
        signal.signal(number, lambda number, _: rung.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in dict.fromkeys(rung):
            signal.raise_signal(number)
