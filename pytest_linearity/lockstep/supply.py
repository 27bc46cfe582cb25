"""Serving: one parameter, read once, for every evaluation that waits for it.

The parameter is worked through in slices of rows that stay in the processor's cache: a slice is
widened and moved once, each direction's part of it is drawn once, and all products with it are
taken before the next slice is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, groupby
from typing import Any

import torch
from torch import Tensor

from pytest_linearity.directions import DirectionSource, Part, block_rows, matrix_shape, rows_of
from pytest_linearity.lockstep.dual import make_dual
from pytest_linearity.lockstep.evaluation import Coroutine, Evaluation
from pytest_linearity.lockstep.order import Order, Reading, Rows
from pytest_linearity.lockstep.prefetch import Prefetch
from pytest_linearity.lockstep.products import Product, Slice, take
from pytest_linearity.lockstep.requests import ProductRequest, Request, RowsRequest
from pytest_linearity.lockstep.tail import Tail

_SLICE_ENTRIES = 1 << 20
"""Entries of a slice: a few MB, so that the slice, a direction's part of it and their sum stay in
cache between being made and being multiplied."""

_LARGEST_SLICE = 1 << 22
"""Entries of a slice where there are few directions to draw for it."""

DRAWN_ENTRIES = 1 << 23
"""Entries of all directions that are drawn at once."""

Served = Iterator[tuple[Coroutine, Any]]


def slice_entries(drawn: int) -> int:
    """Entries of a slice for which so many directions are drawn."""
    return min(max(_SLICE_ENTRIES, DRAWN_ENTRIES // max(1, drawn)), _LARGEST_SLICE)


class Supply:
    """Reads parameters and directions, and answers requests."""

    def __init__(
        self,
        parameters: dict[str, Tensor],
        directions: DirectionSource,
        dtype: torch.dtype,
        device: torch.device,
        share_primals: bool = True,
        tails: Mapping[int, Tail] | None = None,
        *,
        prefetch: Prefetch,
        order: Order,
    ) -> None:
        """Nothing is read yet.

        Args:
            parameters: The model's parameters by canonical name, in any dtype, on any device.
            directions: What `Evaluation.direction` counts.
            dtype: Floating dtype of everything served, float32 or float64.
            device: Where everything served lives.
            share_primals: Whether JVPs may hold the baseline's products as their primals. Right
                for models that do not change the output of a linear layer in place.
            tails: By batch, what linear layers may leave out.
            prefetch: Reads these parameters ahead of their use.
            order: In which order they were read the last time.
        """
        self._parameters = parameters
        self._directions = directions
        self._scopes = directions.scopes
        self._dtype = dtype
        self._device = device
        self._share = share_primals
        self._tails = tails or {}
        self._prefetch = prefetch
        self._order = order
        self._memory = torch.empty(0, dtype=torch.float32)

    @property
    def names(self) -> list[str]:
        """The canonical names of all parameters, in the model's order."""
        return list(self._parameters)

    def moves(self, direction: int, name: str) -> bool:
        """Whether a direction moves this parameter."""
        return name in self._scopes[self._directions.scope_of(direction)]

    def serve(self, waiting: Sequence[Coroutine]) -> Served:
        """Answer evaluations that wait for the same rows of the same parameter.

        Yields:
            Each coroutine with its response. One must be resumed before the next is taken: values
            are made as they are handed out.
        """
        kinds: dict[type[Request], list[Coroutine]] = {}
        for coroutine in waiting:
            kinds.setdefault(type(coroutine.request), []).append(coroutine)  # type: ignore[arg-type]
        for kind, coroutines in kinds.items():
            # Directions one after another, so that each is drawn once; tangents before steps.
            coroutines.sort(key=_order)
            if kind is ProductRequest:
                yield from self._products(coroutines)
            elif kind is RowsRequest:
                yield from self._rows(coroutines)
            else:
                yield from self._values(coroutines)

    def _values(self, coroutines: Sequence[Coroutine]) -> Served:
        """Whole values: the parameter, its dual, or its perturbed value."""
        request = coroutines[0].request
        assert request is not None
        rows = Rows(*request.key)
        self._order.note(Reading(rows, sliced=False))
        stored = self._prefetch.take(rows, self._following(rows, 0))
        value = self.place(stored).reshape(request.shape)
        if value.data_ptr() == stored.data_ptr():
            # A forward must never get hold of the model's own memory.
            value = value.clone()
        for direction, group in groupby(coroutines, lambda c: c.evaluation.direction):
            delta = None
            if direction is not None and self.moves(direction, request.name):
                part = self._directions.part(direction, request.name)
                delta = self.place(part.rows(request.start, request.stop)).view(request.shape)
            for coroutine in group:
                yield coroutine, _moved(value, delta, coroutine.evaluation)

    def _rows(self, coroutines: Sequence[Coroutine]) -> Served:
        """Only the rows that somebody looks up, each once for all evaluations."""
        requests = [c.request for c in coroutines if isinstance(c.request, RowsRequest)]
        name, offset = requests[0].name, requests[0].start
        touched = torch.unique(torch.cat([request.ids.reshape(-1) for request in requests]))
        stored = touched.to("cpu") + offset
        matrix = self._matrix(name)
        values = self.place(matrix.index_select(0, stored.to(matrix.device)))
        for direction, group in groupby(coroutines, lambda c: c.evaluation.direction):
            delta = None
            if direction is not None and self.moves(direction, name):
                delta = self.place(self._directions.part(direction, name).gather(stored))
            for coroutine in group:
                ids = coroutine.request.ids  # type: ignore[union-attr]
                places = torch.searchsorted(touched, ids)
                picked = None if delta is None else delta[places]
                yield coroutine, _moved(values[places], picked, coroutine.evaluation)

    def _products(self, coroutines: Sequence[Coroutine]) -> Served:
        """Products x Wᵀ + b, slice by slice of W."""
        request = coroutines[0].request
        assert isinstance(request, ProductRequest)
        products: list[Product] = []
        baselines: dict[int, Product] = {}
        for coroutine in coroutines:
            evaluation = coroutine.evaluation
            tail = self._tails.get(evaluation.batch)
            product = Product(coroutine, baselines, self._dtype, self._device, tail)
            products.append(product)
            if evaluation.is_baseline:
                baselines[evaluation.batch] = product
        take(products, self._slices(request, products))
        if request.bias is not None:
            self._add_biases(request.bias, products)
        for product in products:
            product.close()
        # All of them before anyone goes on: a forward may change its own output in place.
        responses = [product.response(self._share) for product in reversed(products)]
        # Nothing is held on to here that an evaluation has let go of.
        baselines.clear()
        products.clear()
        for coroutine in coroutines:
            yield coroutine, responses.pop()

    def _slices(self, request: ProductRequest, products: Sequence[Product]) -> Iterator[Slice]:
        """The matrix in slices, and with each the directions' parts of it."""
        parts = self._parts(request.name, products)
        whole = Rows(*request.key)
        self._order.note(Reading(whole, sliced=True))
        slices = self._sliced(whole, len(parts))
        for place, rows in enumerate(slices):
            after = chain(slices[place + 1 :], self._following(whole, len(parts)))
            yield Slice(
                columns=slice(rows.start - request.start, rows.stop - request.start),
                value=self.place(self._prefetch.take(rows, after)),
                delta=_Deltas(self, parts, rows.start, rows.stop),
            )

    def _sliced(self, whole: Rows, drawn: int) -> list[Rows]:
        """Rows in slices, with so many directions to draw for each."""
        width = self._matrix(whole.name).shape[1]
        # A multiple of the draw blocks, so that none is drawn twice.
        block = block_rows(width)
        step = max(1, slice_entries(drawn) // (width * block)) * block
        return [
            Rows(whole.name, start, min(start + step, whole.stop))
            for start in range(whole.start, whole.stop, step)
        ]

    def _following(self, whole: Rows, drawn: int) -> Iterator[Rows]:
        """What will probably be read after these rows."""
        for reading in self._order.after(whole):
            yield from self._sliced(reading.rows, drawn) if reading.sliced else [reading.rows]

    def _add_biases(self, name: str, products: Sequence[Product]) -> None:
        bias = self._read(name, 0, 1).view(-1)
        parts = self._parts(name, products)
        deltas = _Deltas(self, parts, 0, 1)
        for direction, group in groupby(products, lambda product: product.direction):
            delta = deltas(direction)
            for product in group:
                product.add_bias(bias, None if delta is None else delta.view(-1))

    def _parts(self, name: str, products: Sequence[Product]) -> dict[int, Part]:
        wanted = {product.direction for product in products}
        moving = [k for k in wanted if k is not None and self.moves(k, name)]
        return {k: self._directions.part(k, name) for k in moving}

    def memory(self, entries: int) -> Tensor:
        """Flat float32 memory on the CPU, used again and again: fresh pages are dear."""
        if self._memory.numel() < entries:
            self._memory = torch.empty(entries, dtype=torch.float32)
        return self._memory

    def _matrix(self, name: str) -> Tensor:
        parameter = self._parameters[name]
        return parameter.reshape(matrix_shape(tuple(parameter.shape)))

    def _read(self, name: str, start: int, stop: int) -> Tensor:
        return self.place(self._matrix(name)[start:stop])

    def place(self, tensor: Tensor) -> Tensor:
        """A tensor as evaluations see it: on the device, floats in the arithmetic's dtype."""
        if not tensor.is_floating_point():
            return tensor.to(self._device)
        return tensor.to(self._device).to(self._dtype)


class _Deltas:
    """Directions' parts of the same rows, asked for in ascending order of direction.

    Several are drawn at once: after a product the threads that took it stay awake for a few
    milliseconds, and a short draw would spend all of its time competing with them.
    """

    def __init__(self, supply: Supply, parts: Mapping[int, Part], start: int, stop: int) -> None:
        self._supply = supply
        self._parts = parts
        self._start = start
        self._stop = stop
        self._drawn: dict[int, Tensor] = {}

    def __call__(self, direction: int | None) -> Tensor | None:
        if direction is None or direction not in self._parts:
            return None
        if direction not in self._drawn:
            self._draw_from(direction)
        return self._supply.place(self._drawn[direction])

    def _draw_from(self, direction: int) -> None:
        entries = (self._stop - self._start) * self._parts[direction].width
        ahead = [k for k in sorted(self._parts) if k >= direction]
        some = ahead[: max(1, DRAWN_ENTRIES // max(1, entries))]
        memory = self._supply.memory(len(some) * entries)
        parts = [self._parts[k] for k in some]
        drawn = rows_of(parts, self._start, self._stop, out=memory)
        self._drawn = dict(zip(some, drawn, strict=True))


def _moved(value: Tensor, delta: Tensor | None, evaluation: Evaluation) -> Tensor:
    """A value as an evaluation sees it: perhaps moved, perhaps with its direction as tangent."""
    if delta is None:
        return value
    if evaluation.step is not None:
        value = torch.add(value, delta, alpha=evaluation.step)
    return make_dual(value, delta) if evaluation.is_jvp else value


def _order(coroutine: Coroutine) -> tuple[int, int, float, int]:
    """Baselines first, then direction by direction, the JVP before the steps."""
    evaluation = coroutine.evaluation
    direction = -1 if evaluation.direction is None else evaluation.direction
    step = evaluation.step
    return direction, 0 if step is None else 1, step or 0.0, evaluation.batch
