"""Products of many evaluations with one matrix at many points of parameter space.

An evaluation at θ* + rδ needs x(W + rδ)ᵀ, one with a tangent d(x Wᵀ) = dx Wᵀ + x δᵀ besides. For
many rows of x, W + rδ is formed slice by slice, for each direction and step; for few, where that
would cost more than it saves, x Wᵀ + r x δᵀ is taken, with the rows of all evaluations stacked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import torch
from torch import Tensor

from pytest_linearity.numerics.directions.parts import Part, rows_of
from pytest_linearity.numerics.lockstep.dual import unpack_dual
from pytest_linearity.numerics.lockstep.evaluation import Coroutine
from pytest_linearity.numerics.lockstep.order import Rows
from pytest_linearity.numerics.lockstep.requests import ProductRequest
from pytest_linearity.numerics.lockstep.tail import Tail, spread
from pytest_linearity.numerics.lockstep.workers import Bench, Task

FEW_ROWS = 32
"""Up to so many rows per evaluation W + rδ is not formed: forming it would cost more than a second
product."""


@dataclass(frozen=True, eq=False)
class Slice:
    """Some rows of a matrix W, and the directions' parts of them, made by who needs them."""

    columns: slice
    """The columns of the product that come from them."""
    rows: Rows
    """Which rows of W."""
    stored: Tensor
    """Their values, Tensor [rows, in] in any dtype."""
    parts: Mapping[int, Part]
    """The parts of W of the directions that move it."""
    dtype: torch.dtype
    """Floating dtype of the product."""
    device: torch.device
    """Where it is taken."""

    def value(self, bench: Bench) -> Tensor:
        """The rows of W, float Tensor [rows, in]; converted unless the bench has them already."""
        if self.stored.dtype == self.dtype and self.stored.device == self.device:
            return self.stored
        room = bench.room("value", tuple(self.stored.shape), self.dtype, self.device)
        if bench.converted is not self:
            room.copy_(self.stored)
            bench.converted = self
        return room

    def delta(self, direction: int | None, bench: Bench) -> Tensor | None:
        """A direction's part of these rows, drawn anew; None where it does not move W.

        Returns:
            Float Tensor [rows, in], valid until the bench is used for another.
        """
        part = None if direction is None else self.parts.get(direction)
        if part is None:
            return None
        _, start, stop = self.rows
        # Draw blocks are made whole, the first and the last perhaps for a few rows.
        size = (stop - start + 2 * part.block) * part.width
        memory = bench.room("drawn", (size,), torch.float32, torch.device("cpu"))
        (drawn,) = rows_of([part], start, stop, out=memory)
        if drawn.dtype == self.dtype and drawn.device == self.device:
            return drawn
        return bench.room("delta", tuple(drawn.shape), self.dtype, self.device).copy_(drawn)


class Product:
    """One evaluation's product x Wᵀ + b, while it is being taken."""

    def __init__(
        self,
        coroutine: Coroutine,
        baselines: Mapping[int, Product],
        dtype: torch.dtype,
        device: torch.device,
        tail: Tail | None,
    ) -> None:
        """Split the input; `baselines` are the products of baselines so far, by batch."""
        request = coroutine.request
        assert isinstance(request, ProductRequest)
        evaluation = coroutine.evaluation
        self.coroutine = coroutine
        self.direction = evaluation.direction
        self.step = evaluation.step
        self.width = request.stop - request.start
        x, tangent = unpack_dual(request.x) if evaluation.is_jvp else (request.x, None)
        self._shape = (*x.shape[:-1], self.width)
        matrix = x.shape[:-1].numel(), x.shape[-1]
        flat = x.to(dtype).reshape(matrix)
        self._count = len(flat)
        self._rows = tail.rows(coroutine.site, len(flat)) if tail is not None else None
        self.x = self._some(flat)
        self.x_tangent = None
        if tangent is not None:
            self.x_tangent = self._some(tangent.to(dtype).reshape(matrix))
        self.y: Tensor | None = None
        self.y_tangent: Tensor | None = None
        self.primal: Product | None = None
        """The baseline whose product serves as the primal; None where it is taken anew."""
        baseline = baselines.get(evaluation.batch)
        at_baseline = evaluation.is_jvp and evaluation.step is None
        if at_baseline and baseline is not None and baseline._shape == self._shape:
            self.primal = baseline
        size = (len(self.x), self.width)
        if self.primal is None:
            self.y = _room(size, dtype, device)
        if evaluation.is_jvp:
            self.y_tangent = _room(size, dtype, device)

    def add_bias(self, bias: Tensor, delta: Tensor | None) -> None:
        """Add b, or its perturbed value, or to a tangent its direction."""
        if self.y is not None:
            moved = None if delta is None or self.step is None else self.step * delta
            self.y += bias if moved is None else bias + moved
        if self.y_tangent is not None and delta is not None:
            self.y_tangent += delta

    def close(self) -> None:
        """Let go of the input and bring the output into its shape."""
        del self.x, self.x_tangent
        self.y = self._shaped(self.y)
        self.y_tangent = self._shaped(self.y_tangent)

    def response(self, share: bool) -> tuple[Tensor, Tensor | None]:
        """The product and, in a JVP, its tangent; a shared primal is copied unless `share`."""
        y = self.y
        if self.primal is not None:
            y = self.primal.y
        assert y is not None
        return (y if share or self.primal is None else y.clone()), self.y_tangent

    def _some(self, flat: Tensor) -> Tensor:
        return flat if self._rows is None else flat[self._rows.to(flat.device)]

    def _shaped(self, output: Tensor | None) -> Tensor | None:
        if output is None:
            return None
        return spread(output, self._rows, self._count).view(self._shape)


_PADDING = 64
"""Entries beyond an output. An aligned allocation takes a freed block only if that is a little
larger than itself, so blocks of one exact size would pile up."""


def _room(size: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Memory for an output, without values."""
    rows, width = size
    flat = torch.empty(rows * width + _PADDING, dtype=dtype, device=device)
    return flat[: rows * width].view(size)


class Method(ABC):
    """How all products with one matrix are taken; sorted by direction, and within by step."""

    def __init__(self, products: Sequence[Product]) -> None:
        """A method for these products, which gives tasks for each slice of the matrix."""
        self.rows = sum(
            len(product.x) * (1 + product.coroutine.evaluation.is_jvp) for product in products
        )
        """Of all products together."""
        self.tasks_per_slice = 1

    @abstractmethod
    def tasks(self, part: Slice) -> Iterator[Task]:
        """What there is to do with a slice, in any order and at the same time."""

    def finish(self) -> None:
        """Told when all has been done."""
        return


def method_for(products: Sequence[Product]) -> Method:
    """The quicker method for these products."""
    few = max(len(product.x) for product in products) <= FEW_ROWS
    return _Stacked(products) if few else _Formed(products)


class _Formed(Method):
    """For many rows: W + rδ is formed where it is multiplied."""

    def __init__(self, products: Sequence[Product]) -> None:
        super().__init__(products)
        self._along = [
            (direction, list(group))
            for direction, group in groupby(products, lambda product: product.direction)
        ]
        self.tasks_per_slice = len(self._along)

    def tasks(self, part: Slice) -> Iterator[Task]:
        for direction, group in self._along:
            yield partial(_take_along, direction, group, part)


def _take_along(
    direction: int | None, products: Sequence[Product], part: Slice, bench: Bench
) -> None:
    """All products of one direction with a slice."""
    delta = part.delta(direction, bench)
    value = part.value(bench)
    for step, same in groupby(products, lambda product: product.step):
        moved = value
        if step is not None and delta is not None:
            room = bench.room("moved", tuple(value.shape), value.dtype, value.device)
            moved = torch.add(value, delta, alpha=step, out=room)
        for product in same:
            _multiply(product, moved, delta, part.columns)


def _multiply(product: Product, value: Tensor, delta: Tensor | None, columns: slice) -> None:
    """One evaluation's product with a slice of W, at its own point of parameter space."""
    if product.y is not None:
        torch.mm(product.x, value.T, out=product.y[:, columns])
    if product.y_tangent is None:
        return
    out = product.y_tangent[:, columns]
    # d(xWᵀ) = dx Wᵀ + x δᵀ
    if product.x_tangent is not None:
        torch.mm(product.x_tangent, value.T, out=out)
        if delta is not None:
            out.addmm_(product.x, delta.T)
    elif delta is not None:
        torch.mm(product.x, delta.T, out=out)
    else:
        out.zero_()


class _Stacked(Method):
    """For few rows: x Wᵀ + r x δᵀ, with the rows of all evaluations stacked.

    W meets all of them in one product, and δ all of its direction's.
    """

    def __init__(self, products: Sequence[Product]) -> None:
        super().__init__(products)
        self._targets: list[Tensor] = []
        left: list[Tensor] = []
        self._along: list[tuple[int | None, slice, Tensor]] = []
        at = 0
        for direction, group in groupby(products, lambda product: product.direction):
            first, moved = at, []
            for product in group:
                for target, x, along in _lines(product):
                    self._targets.append(target)
                    left.append(x)
                    moved.append(along)
                    at += len(x)
            if direction is not None:
                self._along.append((direction, slice(first, at), torch.cat(moved)))
        self._left = torch.cat(left)
        self._out = self._left.new_empty(len(self._left), products[0].width)

    def tasks(self, part: Slice) -> Iterator[Task]:
        yield partial(self._take, part)

    def _take(self, part: Slice, bench: Bench) -> None:
        torch.mm(self._left, part.value(bench).T, out=self._out[:, part.columns])
        for direction, rows, along in self._along:
            delta = part.delta(direction, bench)
            if delta is not None:
                self._out[rows, part.columns].addmm_(along, delta.T)

    def finish(self) -> None:
        at = 0
        for target in self._targets:
            target.copy_(self._out[at : at + len(target)])
            at += len(target)


def _lines(product: Product) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """What is to be computed: where it goes, what W multiplies, and what δ multiplies."""
    nothing = torch.zeros_like(product.x)
    step = product.step or 0.0
    if product.y is not None:
        yield product.y, product.x, step * product.x if step else nothing
    if product.y_tangent is not None:
        tangent = nothing if product.x_tangent is None else product.x_tangent
        # d(x(W + rδ)ᵀ) = dx Wᵀ + (x + r dx) δᵀ
        yield product.y_tangent, tangent, product.x + step * tangent if step else product.x
