"""Which tensors are files mapped into memory, and how much of them stays there.

The operating system reads such a file where it is touched, and takes its pages back when memory
runs short. Both can be asked for: pages that will be needed next, and pages that are not needed any
more. Neither changes what a tensor holds.
"""

from __future__ import annotations

import ctypes
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

# Advice of madvise(2) on Linux. All of them leave the contents alone; MADV_DONTNEED would not.
_WILL_NEED = 3
_PAGE_OUT = 21
_POPULATE_READ = 22

_SHARE = 0.75
"""A checkpoint that takes more than this part of the memory allowed does not stay in memory."""


@dataclass(frozen=True)
class FileMaps:
    """The files that are mapped into this process, privately, as checkpoints are."""

    spans: tuple[tuple[int, int], ...]
    """First address and the one after the last, ascending."""
    allowed: int | None
    """Bytes of memory that the process may use; None where that is not known."""

    @classmethod
    def now(cls) -> FileMaps:
        """The present ones; none where the system does not tell."""
        try:
            listing = Path("/proc/self/maps").read_text()
        except OSError:
            return cls((), None)
        return cls(tuple(_spans(listing.splitlines())), allowed_memory())

    @cached_property
    def scarce(self) -> bool:
        """Whether all of the files together leave too little of the memory allowed."""
        total = sum(stop - start for start, stop in self.spans)
        return self.allowed is not None and total > _SHARE * self.allowed

    def hold(self, tensor: Tensor) -> bool:
        """Whether a tensor's memory is a piece of a mapped file."""
        if tensor.device.type != "cpu" or not tensor.nbytes or not tensor.is_contiguous():
            return False
        first = tensor.data_ptr()
        place = bisect_right(self.spans, (first, sys.maxsize)) - 1
        return place >= 0 and first + tensor.nbytes <= self.spans[place][1]

    def read(self, tensor: Tensor) -> None:
        """Read a tensor's pages into memory, without the interpreter's lock."""
        if self.hold(tensor) and not _advise(tensor, _POPULATE_READ):  # Linux before 5.14
            _advise(tensor, _WILL_NEED)

    def let_go(self, tensor: Tensor) -> None:
        """Have the system take a tensor's pages back, if memory is scarce."""
        if self.scarce and self.hold(tensor):
            _advise(tensor, _PAGE_OUT)

    def released(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """Pieces of tensors that are read once: each is let go of when the next is taken."""
        for piece in pieces:
            yield piece
            self.let_go(piece)


def allowed_memory() -> int | None:
    """Bytes of memory that this process may use: of the machine, its control groups, `ulimit -m`.

    Linux does not enforce the last of these; here it bounds what is kept of a checkpoint.
    """
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_RSS)
    limits = [_physical(), *_group_limits()] + ([] if soft == resource.RLIM_INFINITY else [soft])
    return min((limit for limit in limits if limit is not None), default=None)


def _physical() -> int | None:
    import os

    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def _group_limits() -> Iterable[int]:
    """The memory limits of this process's control groups, version 1 or 2, and of those above."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, name = ("memory", "memory.limit_in_bytes") if controllers else ("", "memory.max")
        group = Path("/sys/fs/cgroup", root, path.lstrip("/"))
        for place in (group, *group.parents):
            try:
                yield int((place / name).read_text())
            except (OSError, ValueError):  # no such file, or `max`
                continue


def _spans(lines: Iterable[str]) -> Iterable[tuple[int, int]]:
    """Writable private mappings of files: what a measurement never writes to, but might."""
    for line in lines:
        addresses, permissions, _, _, inode, *path = line.split(maxsplit=5)
        if inode != "0" and permissions.startswith("rw-p") and path and path[0].startswith("/"):
            start, stop = addresses.split("-")
            yield int(start, 16), int(stop, 16)


def _advise(tensor: Tensor, advice: int) -> bool:
    """Advise on the whole pages inside a tensor; whether the system knows this advice."""
    madvise, page = _madvise()
    if madvise is None:
        return False
    start = -(-tensor.data_ptr() // page) * page
    length = (tensor.data_ptr() + tensor.nbytes) // page * page - start
    return length <= 0 or madvise(start, length, advice) == 0


@cache
def _madvise() -> tuple[Any, int]:
    try:
        import resource

        function = ctypes.CDLL(None).madvise
    except (AttributeError, ImportError, OSError, TypeError):  # Windows
        return None, 1
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    function.restype = ctypes.c_int
    return function, resource.getpagesize()
