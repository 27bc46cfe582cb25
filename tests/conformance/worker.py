"""Runs checks one after another in a process of its own, which may fail or hang."""

from __future__ import annotations

import multiprocessing
import os
import resource
from multiprocessing.connection import Connection

from .check import Row, check
from .tiny import architectures

SECONDS = 180
"""Longest an architecture may take."""

BYTES = 16 << 30
"""Address space an architecture may take."""


class Worker:
    """A process that checks architectures; it is replaced when it dies or takes too long."""

    def __init__(self) -> None:
        """Nothing is started yet."""
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def check(self, name: str) -> Row:
        """Check one architecture."""
        pipe = self._ready()
        pipe.send(name)
        try:
            if pipe.poll(SECONDS):
                row: Row = pipe.recv()
                return row
            reason = f"took more than {SECONDS} s"
        except EOFError:
            reason = "ended the process"
        self.end()
        return Row(name, architectures()[name], "WRONG", reason=reason)

    def end(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._process = self._pipe = None

    def _ready(self) -> Connection:
        if self._pipe is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
        return self._pipe


def _serve(pipe: Connection) -> None:
    import warnings

    import torch
    from transformers.utils import logging

    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    os.environ["HF_HUB_OFFLINE"] = "1"
    logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    while True:
        pipe.send(check(pipe.recv()))
