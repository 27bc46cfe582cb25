"""Whole processes: what the plugin adds to a pytest that does not use it, and a whole gate."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

from tests.support.paths import ROOT

PAIRS = 40
GATES = 5
PYTEST = ("-m", "pytest", "-p", "no:cacheprovider")
GATE = (*PYTEST, "--linearity-config", "examples/arithmetic/linearity.yaml")
IMPORTS = (
    "import torch, transformers, transformers.models.llama.modeling_llama;"
    "transformers.AutoConfig, transformers.AutoTokenizer, transformers.AutoModelForCausalLM"
)
"""What a gate needs of the two, before it can load anything."""
PROFILED = """
import cProfile, pstats, pytest
profile = cProfile.Profile()
profile.runcall(pytest.main, ["-qq", "-p", "no:cacheprovider"])
own = 0.0
for (file, _, _), (_, _, _, total, callers) in pstats.Stats(profile).stats.items():
    if "pytest_linearity" in file and not any("pytest_linearity" in by for by, _, _ in callers):
        own += total
print(1e3 * own)
"""
"""What a start spends in the plugin's code, and in what it calls, in milliseconds."""


def startup_rows() -> list[tuple[str, str, str]]:
    """What was measured, the target, and the median with its quartiles."""
    added, processor = _milliseconds_added()
    gates, imports = _gate_seconds()
    share = statistics.median(imports) / statistics.median(gates)
    return [
        ("pytest's start, when the plugin is not asked for", "< 5 ms more", _spread(added, "ms")),
        ("the same in processor time", "< 5 ms more", _spread(processor, "ms")),
        ("the same inside the process, profiled", "< 5 ms", _spread(_milliseconds_inside(), "ms")),
        ("the arithmetic gate, from command to verdict", "< 15 s", _spread(gates, "s")),
        ("part of it that imports torch and transformers", "≥ 50%", f"{share:.0%}"),
    ]


def _milliseconds_added() -> tuple[list[float], list[float]]:
    """With the plugin less without it, in pairs, so that a machine that drifts drifts for both.

    Returns:
        By the clock, and in processor time, which others on the machine disturb less.
    """
    others = {plugin.name for plugin in entry_points(group="pytest11")} - {"linearity"}
    # Those that happen to be installed here would add their own time, and its scatter.
    inactive = (*PYTEST, *(f"-pno:{name}" for name in sorted(others)))
    absent = (*inactive, "-pno:linearity")
    added: tuple[list[float], list[float]] = ([], [])
    with tempfile.TemporaryDirectory() as empty:
        for pair in range(-1, PAIRS):
            order = (inactive, absent) if pair % 2 else (absent, inactive)
            seconds = {command: _seconds(command, Path(empty)) for command in order}
            if pair >= 0:  # the first one fills the caches
                for way, values in enumerate(added):
                    values.append(1e3 * (seconds[inactive][way] - seconds[absent][way]))
    return added


def _milliseconds_inside() -> list[float]:
    """Time in the plugin's own code; the profiler makes it longer than it is."""
    with tempfile.TemporaryDirectory() as empty:
        outputs = [_output(("-c", PROFILED), Path(empty)) for _ in range(PAIRS // 2)]
    return [float(output.split()[-1]) for output in outputs[1:]]  # the first fills the caches


def _gate_seconds() -> tuple[list[float], list[float]]:
    """Of the whole gate, and of a process that does nothing but its two great imports."""
    gates, imports = [], []
    with tempfile.TemporaryDirectory() as folder:
        report = ("--linearity-report", f"{folder}/report.json")
        for _ in range(GATES):
            gates.append(_seconds((*GATE, *report), ROOT)[0])
            imports.append(_seconds(("-c", IMPORTS), ROOT)[0])
    return gates, imports


def _seconds(arguments: Sequence[str], folder: Path) -> tuple[float, float]:
    """Of one process, by the clock and in processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    _output(arguments, folder)
    elapsed = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return elapsed, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _output(arguments: Sequence[str], folder: Path) -> str:
    """What a process prints."""
    command = [sys.executable, *arguments]
    # An installed plugin has its bytecode; a tree whose bytecode is never written would be compiled
    # anew in every process.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode not in (0, 5):  # 5: there is no test, as there is to be
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def _spread(values: Sequence[float], unit: str) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.1f} {unit} (quartiles {low:.1f} … {high:.1f})"
