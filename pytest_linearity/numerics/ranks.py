"""Processes that measure together: who measures which direction, and what all of them know.

Every rank knows the figures of all pairs after each pass and decides by them, so that all take the
same next step. The numerics know of other ranks by this module alone.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pytest_linearity.errors import LinearityError, class_name, error_named

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


class ProcessGroup(Protocol):
    """The ranks of one run, seen by one of them.

    Every rank has the model, the prompts and the directions, and measures the directions `shard`
    gives it. They meet after each pass, where all get the figures of all, and where anything is
    decided that need not come out alike everywhere; between, none waits for another. What they
    exchange is plain data and tensors on the CPU: figures, never vectors.
    """

    rank: int
    """This rank, from 0."""
    hosts: tuple[str, ...]
    """The machine of every rank."""

    def exchange(self, about: str, value: Any) -> list[Any]:
        """Give a value to all ranks, and get theirs: every rank must come to this point.

        Args:
            about: What it is about; the same on all ranks, or else they have parted.
            value: Plain data and tensors on the CPU.

        Returns:
            The values of all ranks, by rank.

        Raises:
            LinearityError: If a rank has ended, or is somewhere else.
        """

    def local_device(self, device: torch.device) -> torch.device:
        """The device of this rank, where all are told to use the same one.

        Raises:
            LinearityError: If there is none for it.
        """


class SingleProcess:
    """One process, as nearly always."""

    rank = 0
    hosts: tuple[str, ...] = ("",)

    def exchange(self, about: str, value: Any) -> list[Any]:
        """Its own value."""
        return [value]

    def local_device(self, device: torch.device) -> torch.device:
        """Any device is its own."""
        return device


_group: ProcessGroup = SingleProcess()


def current() -> ProcessGroup:
    """The group that this process is in; like torch's process group, there is one at a time."""
    return _group


def enter(group: ProcessGroup) -> None:
    """Make a group the one that this process is in."""
    global _group
    _group = group


def is_single(group: ProcessGroup) -> bool:
    """Whether there is one rank."""
    return len(group.hosts) == 1


def shard(group: ProcessGroup, directions: Sequence[int]) -> tuple[int, ...]:
    """The directions that this rank measures: the same ones in every pass."""
    return tuple(k for k in directions if k % len(group.hosts) == group.rank)


def on_all_ranks(group: ProcessGroup, about: str, do: Callable[[], T]) -> list[T]:
    """Do something on every rank; where one fails, all fail alike.

    Args:
        group: The ranks.
        about: What is done, in words.
        do: Does it; returns plain data and tensors on the CPU.

    Returns:
        What it returned on every rank, by rank.

    Raises:
        LinearityError: If it failed so on some rank, or a rank has ended.
        RuntimeError: If it failed in any other way on another rank.
        Exception: What it raised here.
    """
    if is_single(group):
        return [do()]
    failure: Exception | None = None
    value: Any = None
    try:
        value = {"done": do()}
    except Exception as error:
        failure = error
        value = {"failed": _told(error)}
    values = group.exchange(about, value)
    failed = {rank: outcome["failed"] for rank, outcome in enumerate(values) if "failed" in outcome}
    if not failed:
        return [outcome["done"] for outcome in values]
    first = min(failed)
    if failure is not None and (group.rank == first or failed[group.rank] == failed[first]):
        raise failure
    kind, message = failed[first]
    if len(failed) < len(values) or kind == RuntimeError.__name__:
        message = f"rank {first} on {group.hosts[first]}: {message}"
    raise error_named(kind, message)


def _told(error: Exception) -> tuple[str, str]:
    """The kind of an error and its message, as other ranks raise it."""
    if isinstance(error, LinearityError):
        return class_name(error), str(error)
    frames = traceback.extract_tb(error.__traceback__)
    at = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return RuntimeError.__name__, f"{type(error).__name__}: {error}{at}"
