"""Rows on their way from the host to a GPU: through pinned memory, on a stream of their own."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from pytest_linearity.numerics.lockstep.order import Rows
from pytest_linearity.numerics.lockstep.prefetch import Begun, Read, Source

_QUEUED = 8
"""Of how many rows taken before the GPU may still be computing: without a bound the host would run
ahead, and the rows that it has queued would fill the GPU."""


class Staging(Source):
    """Copies rows to a GPU while it computes with others."""

    def __init__(self, read: Read, device: torch.device) -> None:
        """A source for one device.

        Args:
            read: Gives stored rows, on the host or on the device.
            device: Where they are needed.
        """
        self._read = read
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._computing: deque[torch.cuda.Event] = deque()

    def begin(self, rows: Rows) -> Begun:
        """Copy to pinned memory, and queue the copy to the device."""
        stored = self._read(rows)
        if stored.device.type != "cpu":
            return Begun(stored)
        pinned = torch.empty(stored.shape, dtype=stored.dtype, pin_memory=True)
        pinned.copy_(stored)
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            # The allocator of pinned memory keeps the block until this copy is done.
            moved = pinned.to(self._device, non_blocking=True)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record(self._stream)
        return Begun(moved, copied)

    def finish(self, begun: Begun) -> Tensor:
        """Have the stream that computes wait for the copy; the host waits only if far ahead."""
        current = torch.cuda.current_stream(self._device)
        computed = torch.cuda.Event()  # type: ignore[no-untyped-call]
        computed.record(current)
        self._computing.append(computed)
        if len(self._computing) > _QUEUED:
            self._computing.popleft().synchronize()
        if begun.ready is not None:
            current.wait_event(begun.ready)
            # Allocated on the other stream: its memory must outlast the work queued on this one.
            begun.tensor.record_stream(current)
        return begun.tensor
