"""Time against the literal method and against the least that the forwards could take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pytest_linearity import Directions, measure
from tests.benchmarks.literal import literal_seconds
from tests.benchmarks.models import Work, llama

K = 8
REPEATS = 3
LITERAL_PAIRS = 2


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    target: str
    ratios: Sequence[float]
    detail: str

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)


def speed_rows() -> list[Row]:
    work = llama(hidden=1024, layers=6, mlp=4096, vocabulary=8192, prompts=8, length=64)
    rows = _rows(work, "hidden 1024, 6 layers, full", (0.1, 0.3, 1.0), "full", "≥ 3.0", ideal=True)
    ten = tuple(0.1 * 1.5**i for i in range(10))
    rows += _rows(work, "the same, 10 radii", ten, "full", "≥ 3.8")
    deep = llama(hidden=512, layers=24, mlp=2048, vocabulary=8192, prompts=8, length=64)
    scope = "last_blocks:1"
    rows += _rows(deep, f"hidden 512, 24 layers, {scope}", (0.1, 0.3, 1.0), scope, "≥ 15")
    return rows


def _rows(
    work: Work,
    what: str,
    radii: Sequence[float],
    scope: str,
    target: str,
    *,
    ideal: bool = False,
) -> list[Row]:
    """Literal, ideal and ours in turn, so that a machine that drifts drifts for all."""
    directions = Directions(work.model, K, scope=scope)
    forwards = 1 + 2 * K + K * len(radii)
    literal, least, ours = [], [], []
    _forward_seconds(work, 2)
    for _ in range(REPEATS):
        literal.append(literal_seconds(work, directions, radii, LITERAL_PAIRS))
        before = _forward_seconds(work, 5)
        ours.append(_our_seconds(work, directions, radii))
        least.append(forwards * (before + _forward_seconds(work, 5)) / 2)
    seconds = f"{statistics.median(literal):.1f} s / {statistics.median(ours):.1f} s"
    rows = [
        Row(f"{what}: literal / ours", target, _ratios(literal, ours), seconds),
    ]
    if ideal:
        seconds = f"{statistics.median(least):.1f} s / {statistics.median(ours):.1f} s"
        rows.append(Row("the same: ideal / ours", "≥ 0.90", _ratios(least, ours), seconds))
    return rows


def _ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


def _our_seconds(work: Work, directions: Directions, radii: Sequence[float]) -> float:
    """All that `measure` does, calibration and noise floor included."""
    started = time.perf_counter()
    measure(work.model, work, directions, radii, "float32", calibration=work.small())
    return time.perf_counter() - started


def _forward_seconds(work: Work, count: int) -> float:
    """One plain forward with last-token logits, in the mean of a few."""
    with torch.no_grad():
        started = time.perf_counter()
        for _ in range(count):
            work.last()
    return (time.perf_counter() - started) / count
