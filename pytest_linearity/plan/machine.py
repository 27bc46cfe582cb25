"""How fast this machine is at what a measurement consists of, found out in a few seconds.

Rates depend on sizes, so each is tried at the sizes of the model that is planned for, for a tenth
of a second, with the functions that a measurement calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from statistics import median

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from pytest_linearity.numerics.directions.directions import Directions
from pytest_linearity.numerics.directions.parts import rows_of
from pytest_linearity.numerics.lockstep.evaluation import Evaluation
from pytest_linearity.numerics.lockstep.products import FEW_ROWS
from pytest_linearity.numerics.lockstep.scheduler import Lockstep
from pytest_linearity.numerics.metrics.changes import cosine_similarity, relative_error
from pytest_linearity.numerics.precision import Arithmetic
from pytest_linearity.plan.forward import rehearse
from pytest_linearity.plan.rehearsal import Rehearsal

_SECONDS = 0.1
"""How long everything is tried."""
_COPIES = 8
"""Pieces that are worked on in turn, so that they do not all stay in the processor's cache."""


class Machine:
    """Rates of one device, each measured when it is first asked for."""

    def __init__(self, device: torch.device) -> None:
        """The machine as seen from this device."""
        self.device = device
        self.products = cache(self._products)
        """(dtype, rows, inputs, outputs, entries) -> floating-point operations per second of
        products with slices of so many entries."""
        self.forming = cache(self._forming)
        """(dtype, entries) -> entries per second of W + rδ."""
        self.widening = cache(self._widening)
        """(from dtype, to dtype, entries) -> entries per second of reading and converting."""
        self.drawing = cache(self._drawing)
        """(directions, width, entries) -> entries per second of drawing slices of directions."""
        self.figures = cache(self._figures)
        """(prompts, vocabulary) -> seconds of reducing the logits of one evaluation."""
        self.serving = cache(self._serving)
        """() -> seconds that it takes to serve one linear layer to one evaluation, whatever its
        size."""

    def forward(
        self, model: nn.Module, dtype: torch.dtype, prompts: int, length: int, *, dual: bool
    ) -> float:
        """Seconds of a forward of a skeleton, products left out."""
        arithmetic = Arithmetic(dtype, self.device)
        outputs: dict[object, Tensor] = {}

        def run() -> None:
            rehearsal = Rehearsal(model, dual=dual, reused=outputs)
            with ExitStack() as stack:
                stack.enter_context(forward_ad.dual_level())
                for mode in modes:
                    stack.enter_context(mode)
                rehearse(model, rehearsal, prompts, length)

        with arithmetic.settings():
            modes = arithmetic.modes(model)
            return self._seconds(run)

    def _products(
        self, dtype: torch.dtype, rows: int, inputs: int, outputs: int, entries: int
    ) -> float:
        height = max(1, min(outputs, entries // inputs))
        x = self._random(rows, inputs, dtype)
        # A slice has just been formed, so that it comes from the cache.
        value = self._random(height, inputs, dtype)
        y = torch.empty(rows, outputs, dtype=dtype, device=self.device)
        columns = y[:, :height]
        return 2 * rows * inputs * height / self._seconds(lambda: torch.mm(x, value.T, out=columns))

    def _forming(self, dtype: torch.dtype, entries: int) -> float:
        value = self._random(1, entries, dtype)
        deltas = [self._random(1, entries, dtype) for _ in range(_COPIES)]
        out = torch.empty_like(value)

        def run() -> None:
            for delta in deltas:
                torch.add(value, delta, alpha=0.3, out=out)

        return _COPIES * entries / self._seconds(run)

    def _widening(self, stored: torch.dtype, dtype: torch.dtype, entries: int) -> float:
        pieces = [self._random(1, entries, torch.float32).to(stored) for _ in range(_COPIES)]

        def run() -> None:
            for piece in pieces:
                piece.to(dtype, copy=True)

        return _COPIES * entries / self._seconds(run)

    def _drawing(self, directions: int, width: int, entries: int) -> float:
        rows = max(1, entries // width)
        planned = Directions(nn.Linear(width, rows, bias=False), directions)
        parts = [planned.part(k, "weight") for k in range(directions)]
        out = torch.empty(directions * (rows + 1) * width)
        return directions * rows * width / self._seconds(lambda: rows_of(parts, 0, rows, out))

    def _figures(self, prompts: int, vocabulary: int) -> float:
        change, predicted = (self._random(prompts, vocabulary, torch.float64) for _ in "ab")

        def run() -> None:
            moved = change - predicted
            relative_error(moved, 0.3 * predicted)
            cosine_similarity(moved, predicted)
            moved.norm(dim=-1)

        return self._seconds(run)

    def _serving(self) -> float:
        layers = nn.Sequential(*(nn.Linear(8, 8, bias=False) for _ in range(_COPIES)))
        x = torch.randn(2 * FEW_ROWS, 8, device=self.device)
        planned = Directions(layers, _COPIES)
        arithmetic = Arithmetic(torch.float32, self.device)
        evaluations = [Evaluation(0)]
        for k in range(_COPIES):
            evaluations += [Evaluation(0, k), Evaluation(0, k, 0.1), Evaluation(0, k, 0.3)]

        def run() -> None:
            engine = Lockstep(layers, [lambda: layers(x)], planned, arithmetic)
            engine.run(evaluations, lambda evaluation, output: None)

        return self._seconds(run) / (len(layers) * len(evaluations))

    def _random(self, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
        return torch.randn(rows, columns, device=self.device).to(dtype)

    def _seconds(self, run: Callable[[], object]) -> float:
        """Seconds of one call, the first of which is not counted."""
        taken: list[float] = []
        run()
        while sum(taken) < _SECONDS or len(taken) < 2:
            self._wait()
            began = time.perf_counter()
            run()
            self._wait()
            taken.append(time.perf_counter() - began)
        return median(taken)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
