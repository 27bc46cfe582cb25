"""The place that torchrun gives a process. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_linearity.errors import RanksError

_ALL = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun sets; schedulers that set some of these do not set all."""


@dataclass(frozen=True)
class Place:
    """One process among those that torchrun has started."""

    rank: int
    """Its number among all, from 0."""
    size: int
    """How many there are."""
    local_rank: int
    """Its number among those of this machine, from 0."""
    local_size: int
    """How many this machine has."""
    master: str
    """Where rank 0 runs."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Place | None:
        """The place that environment variables describe; None for a process that is alone.

        Raises:
            RanksError: If they make no sense.
        """
        if any(not environment.get(name) for name in _ALL):
            return None
        rank, size, local_rank, local_size = (
            _number(name, environment.get(name, "1"))
            for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        )
        if size == 1:
            return None
        return cls(rank, size, local_rank, local_size, environment["MASTER_ADDR"])


def _number(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise RanksError(f"{name} is {value!r}; torchrun sets it to a number") from None
