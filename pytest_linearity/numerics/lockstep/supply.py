"""Where evaluations get parameters from: each is read once for all that wait for it.

The parameter is worked through in slices of rows that stay in the processor's cache: a slice is
widened and moved once, and each direction's part of it is drawn once, where it is multiplied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, groupby
from typing import Any

import torch
from torch import Tensor

from pytest_linearity.numerics.directions.layout import block_rows, matrix_shape
from pytest_linearity.numerics.directions.parts import Part
from pytest_linearity.numerics.directions.source import DirectionSource
from pytest_linearity.numerics.lockstep.dual import make_dual
from pytest_linearity.numerics.lockstep.evaluation import Coroutine, Evaluation
from pytest_linearity.numerics.lockstep.order import Order, Reading, Rows
from pytest_linearity.numerics.lockstep.prefetch import Prefetch
from pytest_linearity.numerics.lockstep.products import Product, Slice, method_for
from pytest_linearity.numerics.lockstep.requests import ProductRequest, Request, RowsRequest
from pytest_linearity.numerics.lockstep.tail import Tail
from pytest_linearity.numerics.lockstep.workers import Load, Workers

Responses = Iterator[tuple[Coroutine, Any]]


class Supply:
    """Reads parameters and directions, and answers the requests of evaluations.

    For a `Request` the answer is the parameter as that evaluation sees it: W, W + rδ or the dual
    number (W, δ). For a `RowsRequest` it is some rows of that; and for a `ProductRequest` the pair
    of x(W + rδ)ᵀ + b, Tensor [..., out], and its tangent, None but in a JVP. Everything served is
    on one device and, if floating, of one dtype, whatever the parameters are stored in.
    """

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
        """A supply for one run of a model's evaluations.

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
        # With its index: what lies on `cuda` says that it lies on `cuda:0`.
        self._device = torch.empty(0, device=device).device
        self._share = share_primals
        self._tails = tails or {}
        self._prefetch = prefetch
        self._order = order
        self._workers = Workers(device, dtype)
        self._load = Load(entries=0, rows=0, drawn=0, tasks=1)

    @property
    def names(self) -> list[str]:
        """The canonical names of all parameters, in the model's order."""
        return list(self._parameters)

    def _moves(self, direction: int, name: str) -> bool:
        """Whether a direction moves this parameter."""
        return name in self._scopes[self._directions.scope_of(direction)]

    def serve(self, waiting: Sequence[Coroutine]) -> Responses:
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

    def _values(self, coroutines: Sequence[Coroutine]) -> Responses:
        """Whole values: the parameter, its dual, or its perturbed value."""
        request = coroutines[0].request
        assert request is not None
        rows = Rows(*request.key)
        self._order.note(Reading(rows, sliced=False))
        stored = self._prefetch.take(rows, self._following(rows))
        value = self._place(stored).reshape(request.shape)
        if value.data_ptr() == stored.data_ptr():
            # A forward must never get hold of the model's own memory.
            value = value.clone()
        for direction, group in groupby(coroutines, lambda c: c.evaluation.direction):
            delta = None
            if direction is not None and self._moves(direction, request.name):
                part = self._directions.part(direction, request.name)
                delta = self._place(part.rows(request.start, request.stop)).view(request.shape)
            for coroutine in group:
                yield coroutine, _moved(value, delta, coroutine.evaluation)

    def _rows(self, coroutines: Sequence[Coroutine]) -> Responses:
        """Only the rows that somebody looks up, each once for all evaluations."""
        requests = [c.request for c in coroutines if isinstance(c.request, RowsRequest)]
        name, offset = requests[0].name, requests[0].start
        touched = torch.unique(torch.cat([request.ids.reshape(-1) for request in requests]))
        stored = touched.to("cpu") + offset
        matrix = self._matrix(name)
        values = self._place(matrix.index_select(0, stored.to(matrix.device)))
        for direction, group in groupby(coroutines, lambda c: c.evaluation.direction):
            delta = None
            if direction is not None and self._moves(direction, name):
                delta = self._place(self._directions.part(direction, name).gather(stored))
            for coroutine in group:
                ids = coroutine.request.ids  # type: ignore[union-attr]
                places = torch.searchsorted(touched, ids)
                picked = None if delta is None else delta[places]
                yield coroutine, _moved(values[places], picked, coroutine.evaluation)

    def _products(self, coroutines: Sequence[Coroutine]) -> Responses:
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
        self._take(request, products)
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

    def _take(self, request: ProductRequest, products: Sequence[Product]) -> None:
        """Take all products, slice by slice."""
        method = method_for(products)
        whole = Rows(*request.key)
        parts = self._parts(request.name, products)
        load = Load(self._entries(whole), method.rows, len(parts), method.tasks_per_slice)
        self._order.note(Reading(whole, sliced=True))
        self._load = load
        slices = self._slices(whole, parts, load)
        self._workers.run((task for part in slices for task in method.tasks(part)), load)
        method.finish()

    def _slices(self, whole: Rows, parts: Mapping[int, Part], load: Load) -> Iterator[Slice]:
        """The matrix in slices."""
        slices = self._sliced(whole, load)
        for place, rows in enumerate(slices):
            after = chain(slices[place + 1 :], self._following(whole))
            yield Slice(
                columns=slice(rows.start - whole.start, rows.stop - whole.start),
                rows=rows,
                stored=self._prefetch.take(rows, after),
                parts=parts,
                dtype=self._dtype,
                device=self._device,
            )

    def _sliced(self, whole: Rows, load: Load) -> list[Rows]:
        """Rows in slices, as they are for such a load."""
        width = self._matrix(whole.name).shape[1]
        # A multiple of the draw blocks, so that none is drawn twice.
        block = block_rows(width)
        step = max(1, self._workers.slice_entries(load) // max(1, width * block)) * block
        return [
            Rows(whole.name, start, min(start + step, whole.stop))
            for start in range(whole.start, whole.stop, step)
        ]

    def _entries(self, rows: Rows) -> int:
        return int((rows.stop - rows.start) * self._matrix(rows.name).shape[1])

    def _following(self, whole: Rows) -> Iterator[Rows]:
        """What will probably be read after these rows, if the load stays what it was."""
        for reading in self._order.after(whole):
            like = replace(self._load, entries=self._entries(reading.rows))
            yield from self._sliced(reading.rows, like) if reading.sliced else [reading.rows]

    def _add_biases(self, name: str, products: Sequence[Product]) -> None:
        bias = self._read(name, 0, 1).view(-1)
        parts = self._parts(name, products)
        for direction, group in groupby(products, lambda product: product.direction):
            part = None if direction is None else parts.get(direction)
            delta = None if part is None else self._place(part.rows(0, 1)).view(-1)
            for product in group:
                product.add_bias(bias, delta)

    def _parts(self, name: str, products: Sequence[Product]) -> dict[int, Part]:
        directions = {product.direction for product in products}
        moving = [k for k in directions if k is not None and self._moves(k, name)]
        return {k: self._directions.part(k, name) for k in moving}

    def _matrix(self, name: str) -> Tensor:
        parameter = self._parameters[name]
        return parameter.reshape(matrix_shape(tuple(parameter.shape)))

    def _read(self, name: str, start: int, stop: int) -> Tensor:
        return self._place(self._matrix(name)[start:stop])

    def _place(self, tensor: Tensor) -> Tensor:
        """A tensor as evaluations see it: on the device, floats in the arithmetic's dtype."""
        if not tensor.is_floating_point():
            return tensor.to(self._device)
        return tensor.to(self._device).to(self._dtype)


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
