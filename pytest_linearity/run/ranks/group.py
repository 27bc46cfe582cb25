"""The ranks of a run as the numerics see them, on torch's process group.

What happens where rank 2 of three dies while the others wait for it in `exchange`:

    rank 2      dies; the system closes its connection to rank 0
    rank 0      Liveness (a thread) sees that within a beat, and passes the loss on to rank 1
    rank 0, 1   Liveness -> Membership._lost: the session is told why, then SIGTERM to itself
    rank 0, 1   main thread, in `_gather`: looks every 1 to 50 ms; it sees the loss, or the
                collective fails first (then it waits up to 10 s for Liveness to name the rank),
                and waits in `_require_all` for the interrupt, which is to be heard first
    torchrun    sees the death as well, and sends SIGTERM to all others: whoever gets that before
                Liveness knows waits up to 3 s for it (Membership._terminate)
    all         a process that is still there after 15 s is ended (Membership._end_anyway)

A rank that ends its session in order says so instead, by way of rank 0. Whoever waits for it goes
on for 5 s, as what it has sent before may still arrive, and then raises how it has ended. At the
very end rank 0 says goodbye first and closes last (Liveness.leave).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pytest_linearity.errors import ConfigError, RanksError, first_line
from pytest_linearity.run.ranks.liveness import Liveness
from pytest_linearity.run.ranks.place import Place
from pytest_linearity.run.store.packing import pack, unpack

_SHORTEST, _LONGEST = 0.001, 0.05
"""Seconds between two looks whether a collective is done."""

_LEAVING = 5.0
"""Seconds that what a rank has sent before it left may take to arrive."""

_TOLD_WITHIN = 10.0
"""Seconds within which the watch tells of a loss that a collective has noticed."""


class Ranks:
    """A group of several processes: the `ProcessGroup` of one of them.

    Values travel through a process group of torch that carries tensors on the CPU. Each is sent
    with what it is about, so that ranks which are at different points say so instead of taking
    each other's values; from then on the group has parted, and every exchange is refused. A rank
    that ends or dies while others wait for it is noticed by `Liveness`, and they raise.
    """

    def __init__(self, place: Place, watch: Liveness) -> None:
        """The one of this process; it needs its `group` before anything is exchanged.

        Args:
            place: The place of this process.
            watch: Knows which ranks are gone.
        """
        self._place = place
        self.group: Any = None
        """A process group that carries tensors on the CPU."""
        self._watch = watch
        self._parted = False
        self.rank = place.rank
        self.hosts: tuple[str, ...] = ("",) * place.size

    @property
    def intact(self) -> bool:
        """Whether the ranks can still exchange anything."""
        return not self._parted and self._watch.loss is None and not self._watch.left

    def exchange(self, about: str, value: Any, *, why: str = "") -> list[Any]:
        """Give a value to all ranks, and get theirs; see `ProcessGroup`.

        `why` is what ranks that are at another point are told of this one.

        A collective is waited for in small steps: interrupts get through, however long a slow rank
        may take, and a rank that has ended is noticed.
        """
        if self._parted:
            raise RanksError(f"{about}: the ranks have parted before")
        try:
            message = pack({"at": about, "why": why, "value": value})
            found = [unpack(content) for content in self._all(message)]
        except BaseException:
            self._parted = True
            raise
        for rank, other in enumerate(found):
            if other["at"] != about:
                self._parted = True
                there = f"{other['at']} ({other['why']})" if other["why"] else other["at"]
                raise RanksError(
                    f"{self.name(rank)} has got to {there}, {self.name(self.rank)} to {about}"
                )
        return [other["value"] for other in found]

    def name(self, rank: int) -> str:
        """A rank as a person knows it."""
        return f"rank {rank} on {self.hosts[rank]}" if self.hosts[rank] else f"rank {rank}"

    def local_device(self, device: torch.device) -> torch.device:
        """The GPU of this rank, where `device` means any; see `ProcessGroup`."""
        if device.type != "cuda":
            return device
        if device.index is not None and self._place.local_size > 1:
            if device.index == self._place.local_rank:
                return device
            raise ConfigError(
                f"device: {str(device)!r} is one GPU for all ranks; `cuda` gives each its own"
            )
        if device.index is not None:
            return device
        if self._place.local_rank >= torch.cuda.device_count():
            raise RanksError(
                f"{self.name(self.rank)} has no GPU of its own: there are "
                f"{torch.cuda.device_count()}; start as many processes per node, or set device: cpu"
            )
        return torch.device("cuda", self._place.local_rank)

    def _all(self, content: bytes) -> list[bytes]:
        """The bytes of all ranks."""
        sizes = [int(size) for size in self._gather(torch.tensor([len(content)]))]
        padded = torch.zeros(max(sizes), dtype=torch.uint8)
        padded[: len(content)] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        filled = self._gather(padded)
        return [
            bytes(part[:size].numpy().tobytes()) for part, size in zip(filled, sizes, strict=True)
        ]

    def _gather(self, tensor: Tensor) -> Sequence[Tensor]:
        found = [torch.empty_like(tensor) for _ in range(self._place.size)]
        try:
            work = dist.all_gather(found, tensor, group=self.group, async_op=True)
            pause = _SHORTEST
            since = time.monotonic()
            while not work.is_completed():
                if not self._watch.left:
                    since = time.monotonic()
                self._require_all(leaving=time.monotonic() - since < _LEAVING)
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST)
            work.wait()
        except RuntimeError as error:
            # A rank that has died is noticed here first; the watch knows which one it is.
            self._watch.await_loss(_TOLD_WITHIN)
            self._require_all(leaving=False)
            raise RanksError(f"the ranks have lost touch: {first_line(error)}") from None
        return found

    def _require_all(self, *, leaving: bool) -> None:
        if self._watch.loss is not None:
            time.sleep(_TOLD_WITHIN)  # whoever was told of it interrupts this
            loss = self._watch.loss
            raise RanksError(f"{self.name(loss.rank)} is gone: {loss.how}")
        for rank, how in () if leaving else self._watch.left.items():
            raise RanksError(f"{self.name(rank)} has ended its session before: {how}")
