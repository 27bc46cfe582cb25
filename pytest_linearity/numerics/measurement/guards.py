"""What a measurement is guarded against: too little memory, an end, the caller's modes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from pytest_linearity.errors import MeasurementError
from pytest_linearity.numerics.measurement.malloc import kept_pages


@contextmanager
def guarded() -> Iterator[None]:
    """All of it at once, and freed memory kept, while something is measured."""
    with outside_inference_mode(), sigterm_interrupts(), readable_out_of_memory(), kept_pages():
        yield


_OUT_OF_MEMORY = (
    "out of memory while measuring; lower `batch_size` (prompts per forward) or `cutoff_len`"
)


@contextmanager
def readable_out_of_memory(message: str = _OUT_OF_MEMORY) -> Iterator[None]:
    """Turn running out of memory into a MeasurementError that says what to lower."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise MeasurementError(message) from error
    except RuntimeError as error:
        if "not enough memory" in str(error):
            raise MeasurementError(message) from error
        raise


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Turn SIGTERM into the interrupt that Ctrl-C is, unless the program handles it itself."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt("SIGTERM")

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def outside_inference_mode() -> AbstractContextManager[object]:
    """Leave the caller's inference mode, which has no tangents; and is one thread's alone."""
    if not torch.is_inference_mode_enabled():
        return nullcontext()
    leaving: AbstractContextManager[object] = torch.inference_mode(False)
    return leaving
