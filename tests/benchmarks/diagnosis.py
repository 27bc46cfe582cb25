"""What diagnosis costs: the layer profile, second derivatives, several scopes in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

from pytest_linearity import Directions, measure
from pytest_linearity.numerics.lockstep.evaluation import Evaluation
from pytest_linearity.numerics.measurement import jobs, simultaneous
from pytest_linearity.numerics.measurement.jobs import Engine
from pytest_linearity.numerics.measurement.measure import measure_with
from pytest_linearity.numerics.measurement.setup import Setup
from pytest_linearity.numerics.measurement.simultaneous import measure_together
from tests.benchmarks.models import Work, llama
from tests.benchmarks.speed import K, Row

RADII = (0.1, 0.3, 1.0)
SCOPES = ("full", "attention", "mlp")


def diagnosis_rows(repeats: int = 5) -> list[Row]:
    """Times with and without in turn, so that a machine that drifts drifts for both."""
    first_row = llama(hidden=1024, layers=6, mlp=4096, vocabulary=8192, prompts=8, length=64)
    smaller = llama(hidden=512, layers=6, mlp=2048, vocabulary=8192, prompts=8, length=64)
    return [_layer_profile(first_row, repeats), _scopes(smaller, max(1, repeats // 2))]


def counted_rows() -> list[tuple[str, str, str]]:
    """What can be counted instead of timed, on a small model."""
    work = llama(hidden=64, layers=2, mlp=128, vocabulary=256, prompts=2, length=8)
    with _evaluations() as seen:
        _measure(work, "full", second_order=True)
    dual = sum(evaluation.dual for evaluation in seen) / K
    with _evaluations() as apart:
        for scope in SCOPES:
            _measure(work, scope)
    with _evaluations() as at_once:
        _together(work)
    before, after = (sum(e.is_baseline for e in each) for each in (apart, at_once))
    return [
        ("second_order: dual evaluations per direction and batch", "≤ 2", f"{dual:g}"),
        (
            f"baselines of {len(SCOPES)} scopes: in one run, in runs of their own",
            "1, 3",
            f"{after}, {before}",
        ),
    ]


def _layer_profile(work: Work, repeats: int) -> Row:
    blocks = {f"block {i}": block for i, block in enumerate(work.model.model.layers)}
    plain, profiled = [], []
    for _ in range(repeats):
        plain.append(_seconds(lambda: _measure(work, "full")))
        profiled.append(_seconds(lambda: _measure(work, "full", blocks=blocks)))
    return _row("layer profile: time with / without", "< 1.03", profiled, plain)


def _scopes(work: Work, repeats: int) -> Row:
    apart, at_once = [], []
    for _ in range(repeats):
        apart.append(_seconds(lambda: [_measure(work, scope) for scope in SCOPES]))
        at_once.append(_seconds(lambda: _together(work)))
    what = f"{', '.join(SCOPES)}: time of one run / of three"
    return _row(what, "≤ 1", at_once, apart)


def _row(what: str, target: str, above: Sequence[float], below: Sequence[float]) -> Row:
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return Row(what, target, ratios, f"{min(above):.1f} s / {min(below):.1f} s at best")


def _measure(work: Work, scope: str, **keys: Any) -> None:
    directions = Directions(work.model, K, scope=scope)
    measure(work.model, work, directions, RADII, "float32", calibration=work.small(), **keys)


def _together(work: Work) -> None:
    device = next(work.model.parameters()).device

    def run(scope: str) -> Callable[[Engine], object]:
        directions = Directions(work.model, K, scope=scope)
        small = work.small()
        return lambda engine: measure_with(
            Setup(
                work.model,
                [work],
                directions,
                device,
                "float32",
                calibration=small,
                engine=engine,
            ),
            RADII,
        )

    for outcome in measure_together([run(scope) for scope in SCOPES]):
        if isinstance(outcome, Exception):
            raise outcome


def _seconds(do: Callable[[], object]) -> float:
    started = time.perf_counter()
    do()
    return time.perf_counter() - started


@contextmanager
def _evaluations() -> Iterator[list[Evaluation]]:
    """The evaluations that run, without those of calibrations."""
    seen: list[Evaluation] = []

    class Counting(jobs.Lockstep):
        def run(self, evaluations: Sequence[Evaluation], *args: Any, **keys: Any) -> None:
            seen.extend(evaluations)
            super().run(evaluations, *args, **keys)

    with (
        mock.patch.object(jobs, "Lockstep", Counting),
        mock.patch.object(simultaneous, "Lockstep", Counting),
    ):
        yield seen
