"""Whether the other ranks are still there.

Rank 0 holds a connection to every other rank. The system closes it when a process dies, however it
dies, and beats tell of a machine that is gone or stands still; a rank that is busy beats all the
same, as a thread of its own does it. What rank 0 finds out it passes on.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener, wait
from time import monotonic, sleep
from typing import Any

BEAT = 2.0
"""Seconds between beats."""

SILENCE = 30.0
"""Seconds without one after which a rank counts as gone."""

_LEAVING = 10.0
"""Seconds that ranks wait for each other at the end."""


@dataclass(frozen=True)
class Loss:
    """A rank that has gone without a word."""

    rank: int
    """Which."""
    how: str
    """What was seen of it."""


class Liveness:
    """A thread that listens to other ranks."""

    def __init__(self, rank: int, others: int, lost: Callable[[Loss], None]) -> None:
        """Nobody is listened to yet.

        Args:
            rank: Which rank this is.
            others: How many ranks it will hear of directly: all others for rank 0, one for them.
            lost: Told of a loss, once, in the watch's thread.
        """
        self._rank = rank
        self._others = others
        self._tell = lost
        self._open: dict[int, Connection[Any, Any]] = {}
        self._heard: dict[int, float] = {}
        self._beaten = 0.0
        self._leaving = threading.Event()
        self._closing = threading.Event()
        self._lost = threading.Event()
        self.loss: Loss | None = None
        """The first loss, once there is one."""
        self.left: dict[int, str] = {}
        """Ranks that have ended their session, and how."""
        self._thread: threading.Thread | None = None

    def listen(self, listener: Listener) -> None:
        """As rank 0: accept the others, then listen to them."""
        self._start(lambda: self._accept(listener))

    def follow(self, connection: Connection[Any, Any]) -> None:
        """As another rank: listen to rank 0."""
        _send(connection, rank=self._rank)
        self._open[0] = connection
        self._start(lambda: None)

    def await_loss(self, seconds: float) -> Loss | None:
        """The first loss, also if it is noticed within so many seconds."""
        self._lost.wait(seconds)
        return self.loss

    def leave(self, how: str) -> None:
        """Say goodbye; being gone is no loss from now on."""
        if self._thread is None or self._leaving.is_set():
            return
        self._leaving.set()
        for connection in list(self._open.values()):
            with suppress(OSError):
                _send(connection, left=self._rank, how=how)
        deadline = monotonic() + _LEAVING
        while self._awaited and monotonic() < deadline:
            sleep(0.02)
        self._closing.set()
        self._thread.join(BEAT + 1)

    @property
    def _awaited(self) -> bool:
        """Whether it is too early to close a connection.

        Rank 0 says goodbye, then the others close, and rank 0 last: one who closes while something
        is under way to him takes back what he has sent, also his goodbye.
        """
        if self._rank == 0:
            return bool(self._open)
        return 0 in self._open and 0 not in self.left

    def _start(self, begin: Callable[[], None]) -> None:
        def run() -> None:
            begin()
            self._heard = dict.fromkeys(self._open, monotonic())
            while not self._closing.is_set():
                self._listen_once()
            for connection in self._open.values():
                connection.close()

        self._thread = threading.Thread(target=run, name="linearity-watch", daemon=True)
        self._thread.start()

    def _accept(self, listener: Listener) -> None:
        with listener:
            while len(self._open) < self._others and not self._closing.is_set():
                with suppress(AuthenticationError, OSError, EOFError, ValueError):
                    connection = listener.accept()
                    self._open[json.loads(connection.recv_bytes())["rank"]] = connection

    def _listen_once(self) -> None:
        """Hear what has come within a beat, and beat."""
        ranks = {connection: rank for rank, connection in self._open.items()}
        if not ranks:
            self._closing.wait(BEAT)
        for ready in wait(list(ranks), timeout=BEAT / 10):
            rank = ranks[ready]  # type: ignore[index]
            try:
                self._hear(rank, json.loads(self._open[rank].recv_bytes()))
            except (EOFError, OSError, ValueError):
                self._gone(rank, "its process has ended")
        now = monotonic()
        for rank, since in list(self._heard.items()):
            if now - since > SILENCE:
                self._gone(rank, f"nothing was heard of it for {SILENCE:.0f} seconds")
        if now - self._beaten > BEAT:
            self._beaten = now
            self._send_all(beat=1)

    def _hear(self, rank: int, message: Mapping[str, Any]) -> None:
        self._heard[rank] = monotonic()
        if "left" in message:
            self.left[message["left"]] = message["how"]
            self._send_all(**message)
        elif "lost" in message:
            self._lose(Loss(message["lost"], message["how"]))

    def _gone(self, rank: int, how: str) -> None:
        connection = self._open.pop(rank)
        self._heard.pop(rank)
        connection.close()
        if rank not in self.left:
            self._lose(Loss(rank, how))

    def _lose(self, loss: Loss) -> None:
        if self.loss is not None or self._leaving.is_set():
            return
        self.loss = loss
        self._send_all(lost=loss.rank, how=loss.how)
        self._tell(loss)
        self._lost.set()

    def _send_all(self, **message: Any) -> None:
        """As rank 0 tell all others, as another rank beat only."""
        for rank, connection in self._open.items():
            tells = self._rank == 0 or "beat" in message
            if tells and rank != message.get("left"):
                with suppress(OSError):  # what is wrong with it is seen when it is heard
                    _send(connection, **message)


def _send(connection: Connection[Any, Any], **message: Any) -> None:
    connection.send_bytes(json.dumps(message).encode())
