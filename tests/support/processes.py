"""Signals of child processes."""

from __future__ import annotations

import signal


def heed_sigint() -> None:
    """For a child process: one started in the background inherits that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
