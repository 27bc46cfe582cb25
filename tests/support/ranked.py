"""Runs in processes of their own, alone or as ranks of one run.

Most of them are forked from a process that has imported all that is slow to import; those that
show what torchrun does go through torchrun.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

TORCHRUN = (sys.executable, "-m", "torch.distributed.run")

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "torch.distributed",
        "transformers.models.auto.modeling_auto",
        "transformers.models.auto.tokenization_auto",
        "transformers.models.llama.modeling_llama",
        "transformers.masking_utils",
        "omegaconf",
        "rich.table",
        "pytest",
        "pygments",
        "greenlet",
        "junitparser",
        "pytest_linearity.run.analysis",
        "pytest_linearity.cli",
        "pytest_linearity.plugin.hooks",
        "pytest_linearity.run.ranks.membership",
        "pytest_linearity.report.json",
        "pytest_linearity.report.places",
        "pytest_linearity.report.terminal.report",
    ]
)
_OUTPUTS = count()


class Forked:
    """A process that runs pytest, or a command."""

    def __init__(
        self,
        directory: Path,
        arguments: Sequence[str],
        main: Callable[[list[str]], int],
        more: Mapping[str, str],
    ) -> None:
        self._output = directory / f".output-{next(_OUTPUTS)}"
        given = main, list(arguments), directory, environment(**more), self._output
        self._process = _FORKS.Process(target=_run, args=given, daemon=True)
        self._process.start()

    def ended(self) -> tuple[int, str]:
        """Its exit code, and what it has written."""
        self._process.join(100)
        code = self._process.exitcode
        assert code is not None, self._output.read_text()
        return code, self._output.read_text()


def _run(
    main: Callable[[list[str]], int],
    arguments: list[str],
    directory: Path,
    variables: dict[str, str],
    output: Path,
) -> None:
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(variables)
    place = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(place, 1)
    os.dup2(place, 2)
    sys.exit(int(main(arguments)))


def forked(
    directory: Path,
    *arguments: str,
    main: Callable[[list[str]], int] = pytest.main,
    **more: str,
) -> tuple[int, str]:
    """Exit code and output of one process, which is alone."""
    return Forked(directory, arguments, main, more).ended()


def ranks_of(
    directory: Path,
    ranks: int,
    *arguments: str,
    each: Sequence[Sequence[str]] = (),
    main: Callable[[list[str]], int] = pytest.main,
    **more: str,
) -> list[Forked]:
    """Ranks with the environment that torchrun gives them, and without its agent.

    Args:
        directory: Where they run.
        ranks: How many.
        arguments: What all of them are given.
        each: What each is given besides.
        main: What they run.
        more: Environment variables.
    """
    port = str(free_port())
    return [
        Forked(
            directory,
            [*arguments, *(each[rank] if each else ())],
            main,
            {
                "RANK": str(rank),
                "WORLD_SIZE": str(ranks),
                "LOCAL_RANK": str(rank),
                "LOCAL_WORLD_SIZE": str(ranks),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                **more,
            },
        )
        for rank in range(ranks)
    ]


def ended(processes: Sequence[Forked]) -> tuple[list[int], list[str]]:
    """The exit codes of ranks, and what each has written."""
    codes, said = zip(*(process.ended() for process in processes), strict=True)
    return list(codes), list(said)


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


def exit_codes(said: str) -> list[str]:
    """Those of the ranks, as torchrun tells them."""
    return re.findall(r"exitcode\s*: (-?\d+) \(pid", said)


def await_pids(directory: Path, ranks: int) -> list[int]:
    """The processes of all ranks, once each has written its own to a file."""
    deadline = time.monotonic() + 90
    pids = [directory / f"pid-{rank}" for rank in range(ranks)]
    while not all(path.exists() and path.read_text() for path in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return [int(path.read_text()) for path in pids]


def report(path: Path) -> dict[str, Any]:
    """A report but for its environment, which holds times."""
    found: dict[str, Any] = json.loads(path.read_text())
    del found["environment"]
    return found


def but_for_this_run(document: dict[str, Any]) -> dict[str, Any]:
    """A report but for what is of the run that wrote it, and not of what it rests on."""
    kept = {key: value for key, value in document["environment"].items() if key not in _OF_A_RUN}
    return {**document, "environment": kept}


_OF_A_RUN = {"measured", "seconds", "peak_memory_bytes", "evaluations_run", "journal"}


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
