"""How a process becomes one of several ranks, and how it stops being one."""

from __future__ import annotations

import _thread
import json
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Client, Listener
from types import FrameType
from typing import Any, TextIO

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from pytest_linearity.errors import UNUSABLE, RanksError, first_line
from pytest_linearity.numerics.ranks import SingleProcess, enter
from pytest_linearity.run.ranks.group import Ranks
from pytest_linearity.run.ranks.liveness import Liveness, Loss
from pytest_linearity.run.ranks.place import Place

_JOINING = timedelta(minutes=5)
_PATIENCE = timedelta(days=365)
"""A pass may take hours on one rank and minutes on another; deaths are the watch's business."""

_GRACE = 15.0
"""Seconds that a process has to end by itself once a rank is lost."""

_NOTICED = 3.0
"""Seconds within which a death is noticed for which torchrun ends all others."""


class Membership:
    """This process as one of the ranks, until it leaves."""

    def __init__(self, place: Place, told: Callable[[str], None] = lambda _: None) -> None:
        """Join; the group is then the current one.

        Args:
            place: The place of this process.
            told: Told, in another thread, why the run ends when a rank is lost, just before this
                process is interrupted.

        Raises:
            RanksError: If the ranks do not find each other.
        """
        self._place = place
        self._told = told
        self._stderr = _own_stderr()
        self._interrupted = False
        self._over = threading.Event()
        self._watch = Liveness(place.rank, place.size - 1 if place.rank == 0 else 1, self._lost)
        self.ranks = Ranks(place, self._watch)
        self._destroys = not dist.is_initialized()
        signal.signal(signal.SIGTERM, self._terminate)
        try:
            self.ranks.group = self._group()
        except (RuntimeError, OSError, ValueError) as error:
            raise RanksError(
                f"rank {place.rank} of {place.size} cannot join: {first_line(error)}"
            ) from None
        self.ranks.hosts = tuple(self.ranks.exchange("joining", socket.gethostname()))
        enter(self.ranks)

    def leave(self, how: str) -> None:
        """Be no rank any more.

        Args:
            how: How the session has ended, for ranks that still wait for something.
        """
        if self._over.is_set():
            return
        self._over.set()
        enter(SingleProcess())
        intact = self.ranks.intact
        self.end()
        self._watch.leave(how)
        if self._destroys and intact:
            dist.destroy_process_group()
        if self._stderr is not None:
            self._stderr.close()

    def end(self) -> None:
        """End with an exit code of one's own: torchrun ends the others once one has failed."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _group(self) -> Any:
        place = self._place
        if self._destroys:
            store, _, _ = next(rendezvous("env://", timeout=_JOINING))
            store = dist.distributed_c10d.PrefixStore("pytest-linearity", store)
            self._begin_watch(store)
            dist.init_process_group(
                _backend(place),
                store=store,
                rank=place.rank,
                world_size=place.size,
                timeout=_PATIENCE,
            )
        else:  # a project's own, which may end what takes long
            self._begin_watch(dist.distributed_c10d._get_default_store())
        return dist.new_group(backend="gloo", timeout=_PATIENCE)

    def _begin_watch(self, store: Any) -> None:
        if self._place.rank == 0:
            key = secrets.token_bytes(16)
            listener = Listener(("", 0), backlog=self._place.size, authkey=key)
            store.set("watch", json.dumps([listener.address[1], key.hex()]))
            self._watch.listen(listener)
            return
        port, key = json.loads(store.get("watch"))
        self._watch.follow(Client((self._place.master, port), authkey=bytes.fromhex(key)))

    def _said(self, loss: Loss) -> str:
        return f"{self.ranks.name(loss.rank)} is gone ({loss.how}); the run is ended"

    def _lost(self, loss: Loss) -> None:
        """End the run: said once, by the first of the ranks that are left."""
        message = self._said(loss)
        if self._place.rank == (1 if loss.rank == 0 else 0) and self._stderr is not None:
            self._stderr.write(f"\nERROR: {message}\n")
            self._stderr.flush()
        self._told(message)
        # Not by SIGINT, which what runs in the background of a shell ignores.
        _thread.interrupt_main(signal.SIGTERM)
        threading.Thread(target=self._end_anyway, daemon=True).start()

    def _end_anyway(self) -> None:
        """A process that hangs in what cannot be interrupted is ended all the same."""
        if not self._over.wait(_GRACE):
            os._exit(UNUSABLE)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM, sent by torchrun to all others when one has died (which one?), or by a loss."""
        self._watch.await_loss(_NOTICED)
        if not self._interrupted:
            self._interrupted = True
            raise KeyboardInterrupt("SIGTERM")
        time.sleep(0)  # the interrupt is on its way


def _backend(place: Place) -> str:
    """For tensors on the CPU gloo, and nccl for those on GPUs, each rank on its own."""
    if not torch.cuda.is_available() or place.local_rank >= torch.cuda.device_count():
        return "gloo"
    torch.cuda.set_device(place.local_rank)
    return "cpu:gloo,cuda:nccl" if dist.is_nccl_available() else "gloo"


def _own_stderr() -> TextIO | None:
    """Standard error as it is now, whoever captures it later."""
    try:
        return os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8", errors="replace")
    except (AttributeError, OSError, ValueError):
        return None
