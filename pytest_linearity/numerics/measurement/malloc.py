"""Memory that stays with the process while a measurement runs, where the C library is glibc."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

# Parameters of mallopt(3) in glibc.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3

_KEPT = {_MMAP_THRESHOLD: 1 << 30, _TRIM_THRESHOLD: (1 << 31) - 1}
_USUAL = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}
"""The largest values that glibc sets by itself in a process that frees large blocks."""


@contextmanager
def kept_pages() -> Iterator[None]:
    """Have freed memory used again instead of given back to the operating system, for a while.

    Evaluations allocate and free the same few sizes over and over. Given back each time, every
    page is cleared and mapped anew, which takes longer than the arithmetic done on it. Does nothing
    where the C library is not glibc. Where several such times overlap, the last one ends them all.
    """
    global _keeping
    libc = _glibc()
    if libc is None:
        yield
        return
    _keeping += 1
    _set(libc, _KEPT)
    try:
        yield
    finally:
        _keeping -= 1
        if not _keeping:
            _set(libc, _USUAL)
            libc.malloc_trim(0)


_keeping = 0


def _set(libc: Any, values: dict[int, int]) -> None:
    for parameter, value in values.items():
        libc.mallopt(parameter, value)


@cache
def _glibc() -> Any:
    try:
        libc = ctypes.CDLL(None)
        # Other libraries have a mallopt of their own; only glibc's has these parameters.
        return libc if libc.gnu_get_libc_version and libc.mallopt and libc.malloc_trim else None
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return None
