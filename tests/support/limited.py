"""A child process that may use so much memory, whatever the machine has."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = resource.getpagesize()


@dataclass(frozen=True)
class Outcome:
    """How a child process ended."""

    code: int
    """Its exit code."""
    seconds: float
    """How long it ran."""
    peak: int
    """Largest resident memory seen, in bytes: its own and that of the files it has mapped."""
    errors: str
    """What it wrote to standard error."""

    @property
    def within_limit(self) -> bool:
        """Whether it was not killed."""
        return self.code >= 0


def run(command: Sequence[str], cwd: Path, allowed: int | None = None) -> Outcome:
    """Run a command under `ulimit -m`, which Linux leaves to others: who takes more is killed here.

    Resident memory counts private memory and mapped files alike.
    """

    def limit() -> None:
        if allowed is not None:
            resource.setrlimit(resource.RLIMIT_RSS, (allowed, allowed))

    began, peak = time.perf_counter(), 0
    with open(cwd / "errors.txt", "w+") as errors:
        child = subprocess.Popen(
            command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=errors, preexec_fn=limit
        )
        try:
            while child.poll() is None:
                peak = max(peak, _resident(child.pid))
                if allowed is not None and peak > allowed:
                    child.kill()
                time.sleep(0.002)
        finally:
            child.kill()
            child.wait()
        seconds = time.perf_counter() - began
        errors.seek(0)
        return Outcome(child.returncode, seconds, peak, errors.read())


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0
