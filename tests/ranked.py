"""Runs under torchrun, in processes of their own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TORCHRUN = (sys.executable, "-m", "torch.distributed.run")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("", 0))
        port: int = found.getsockname()[1]
        return port


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120", "NO_COLOR": "1", **more}


def started(directory: Path, ranks: int, *arguments: str) -> subprocess.Popen[str]:
    """`torchrun -m pytest`, with what all ranks write going to one pipe."""
    command = [*TORCHRUN, f"--nproc-per-node={ranks}", f"--master-port={free_port()}", "-m"]
    return subprocess.Popen(
        [*command, "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=directory,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(directory: Path, ranks: int, *arguments: str) -> tuple[int, str]:
    """Exit code of torchrun, and what was said."""
    process = started(directory, ranks, *arguments)
    said, _ = process.communicate(timeout=100)
    return process.returncode, said


def without_torchrun(
    directory: Path, ranks: int, *arguments: str, each: Sequence[Sequence[str]] = ()
) -> list[subprocess.Popen[str]]:
    """The same processes without the agent that ends all when one has died."""
    port = str(free_port())
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return [
        subprocess.Popen(
            [*command, *(each[rank] if each else ())],
            cwd=directory,
            env=environment(
                RANK=str(rank),
                WORLD_SIZE=str(ranks),
                LOCAL_RANK=str(rank),
                LOCAL_WORLD_SIZE=str(ranks),
                MASTER_ADDR="127.0.0.1",
                MASTER_PORT=port,
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(ranks)
    ]


def report(path: Path) -> dict[str, Any]:
    """A report but for its environment, which holds times."""
    found: dict[str, Any] = json.loads(path.read_text())
    del found["environment"]
    return found


def largest_difference(one: Any, other: Any) -> float:
    """The largest relative difference of numbers; everything else must be equal."""
    if isinstance(one, float) and isinstance(other, float):
        # What is nothing but rounding, as a noise floor in float64 is, may be any such number.
        near = abs(one - other) < 1e-14
        return 0.0 if near else abs(one - other) / max(abs(one), abs(other))
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        pairs = [(value, other[key]) for key, value in one.items()]
    elif isinstance(one, list):
        assert len(one) == len(other)
        pairs = list(zip(one, other, strict=True))
    else:
        assert one == other
        return 0.0
    return max((largest_difference(*pair) for pair in pairs), default=0.0)
