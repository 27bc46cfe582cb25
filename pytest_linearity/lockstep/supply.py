"""Serving: one parameter, read once, for every evaluation that waits for it.

The parameter is worked through in slices of rows that stay in the processor's cache: a slice is
widened and moved once, each direction's part of it is drawn once, and all products with it are
taken before the next slice is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from pytest_linearity.directions import DirectionPart, Directions, matrix_shape
from pytest_linearity.lockstep.dual import make_dual, unpack_dual
from pytest_linearity.lockstep.evaluation import Coroutine
from pytest_linearity.lockstep.requests import ProductRequest, Request, RowsRequest

_SLICE_ENTRIES = 1 << 20
"""Entries of a slice: a few MB, so that the slice, a direction's part of it and their sum stay in
cache between being made and being multiplied."""

Served = Iterator[tuple[Coroutine, Any]]


class Supply:
    """Reads parameters and directions, and answers requests."""

    def __init__(
        self,
        parameters: dict[str, Tensor],
        directions: Directions,
        dtype: torch.dtype,
        device: torch.device,
        share_primals: bool = True,
    ) -> None:
        """Nothing is read yet.

        Args:
            parameters: The model's parameters by canonical name, in any dtype, on any device.
            directions: What `Evaluation.direction` counts.
            dtype: Floating dtype of everything served, float32 or float64.
            device: Where everything served lives.
            share_primals: Whether JVPs may hold the baseline's products as their primals. Right
                for models that do not change the output of a linear layer in place.
        """
        self._parameters = parameters
        self._directions = directions
        self._in_scope = frozenset(directions.names)
        self._dtype = dtype
        self._device = device
        self._share = share_primals

    @property
    def names(self) -> list[str]:
        """The canonical names of all parameters, in the model's order."""
        return list(self._parameters)

    def in_scope(self, name: str) -> bool:
        """Whether directions move this parameter."""
        return name in self._in_scope

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
        stored = self._matrix(request.name)[request.start : request.stop]
        value = self._place(stored).reshape(request.shape)
        if value.data_ptr() == stored.data_ptr():
            # A forward must never get hold of the model's own memory.
            value = value.clone()
        for direction, group in groupby(coroutines, lambda c: c.evaluation.direction):
            delta = None
            if direction is not None and self.in_scope(request.name):
                part = self._directions.part(direction, request.name)
                delta = self._place(part.rows(request.start, request.stop)).view(request.shape)
            for coroutine in group:
                yield coroutine, _moved(value, delta, coroutine.evaluation.step)

    def _rows(self, coroutines: Sequence[Coroutine]) -> Served:
        """Only the rows that somebody looks up, each once for all evaluations."""
        requests = [c.request for c in coroutines if isinstance(c.request, RowsRequest)]
        name, offset = requests[0].name, requests[0].start
        touched = torch.unique(torch.cat([request.ids.reshape(-1) for request in requests]))
        stored = touched.to("cpu") + offset
        matrix = self._matrix(name)
        values = self._place(matrix.index_select(0, stored.to(matrix.device)))
        for direction, group in groupby(coroutines, lambda c: c.evaluation.direction):
            delta = None
            if direction is not None and self.in_scope(name):
                delta = self._place(self._directions.part(direction, name).gather(stored))
            for coroutine in group:
                ids = coroutine.request.ids  # type: ignore[union-attr]
                places = torch.searchsorted(touched, ids)
                picked = None if delta is None else delta[places]
                yield coroutine, _moved(values[places], picked, coroutine.evaluation.step)

    def _products(self, coroutines: Sequence[Coroutine]) -> Served:
        """Products x Wᵀ + b, slice by slice of W."""
        products = [_Product(c, self._share) for c in coroutines]
        request = products[0].request
        baselines = {p.coroutine.evaluation.batch: p for p in products if p.is_baseline}
        for product in products:
            product.plan(baselines, self._dtype, self._device)
        scratch = _Scratch(self._dtype, self._device)
        parts = self._parts(request.name, products)
        width = matrix_shape(tuple(self._parameters[request.name].shape))[1]
        step = max(1, _SLICE_ENTRIES // width)
        for start in range(request.start, request.stop, step):
            stop = min(start + step, request.stop)
            value = self._read(request.name, start, stop)
            columns = slice(start - request.start, stop - request.start)
            for direction, group in groupby(products, lambda p: p.coroutine.evaluation.direction):
                part = parts.get(direction)
                delta = None if part is None else self._place(part.rows(start, stop))
                for step_size, same in groupby(group, lambda p: p.coroutine.evaluation.step):
                    _multiply(list(same), value, delta, step_size, columns, scratch)
        self._add_biases(products)
        for product in products:
            product.release()
        # All of them before anyone goes on: a forward may change its own output in place.
        responses = [product.response() for product in products]
        for product, response in zip(products, responses, strict=True):
            yield product.coroutine, response

    def _add_biases(self, products: Sequence[_Product]) -> None:
        name = products[0].request.bias
        if name is None:
            return
        bias = self._read(name, 0, 1).view(-1)
        parts = self._parts(name, products)
        for direction, group in groupby(products, lambda p: p.coroutine.evaluation.direction):
            part = parts.get(direction)
            delta = None if part is None else self._place(part.rows(0, 1)).view(-1)
            for product in group:
                product.add_bias(bias, delta)

    def _parts(self, name: str, products: Sequence[_Product]) -> dict[int | None, DirectionPart]:
        if not self.in_scope(name):
            return {}
        wanted = {p.coroutine.evaluation.direction for p in products}
        return {k: self._directions.part(k, name) for k in wanted if k is not None}

    def _matrix(self, name: str) -> Tensor:
        parameter = self._parameters[name]
        return parameter.reshape(matrix_shape(tuple(parameter.shape)))

    def _read(self, name: str, start: int, stop: int) -> Tensor:
        return self._place(self._matrix(name)[start:stop])

    def _place(self, tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor.to(self._device)
        return tensor.to(self._device).to(self._dtype)


@dataclass
class _Scratch:
    """Memory for one perturbed slice, used again and again: fresh pages cost more than the sum."""

    dtype: torch.dtype
    device: torch.device
    _memory: Tensor | None = None

    def like(self, value: Tensor) -> Tensor:
        if self._memory is None or self._memory.numel() < value.numel():
            self._memory = torch.empty(value.numel(), dtype=self.dtype, device=self.device)
        return self._memory[: value.numel()].view(value.shape)


class _Product:
    """One evaluation's product with a matrix, while it is being taken."""

    def __init__(self, coroutine: Coroutine, share: bool) -> None:
        assert isinstance(coroutine.request, ProductRequest)
        self.coroutine = coroutine
        self.request = coroutine.request
        self.is_baseline = coroutine.evaluation.is_baseline
        self.is_jvp = coroutine.evaluation.is_jvp
        self._share = share
        self.x: Tensor | None = None
        self.x_tangent: Tensor | None = None
        self.y: Tensor | None = None
        self.y_tangent: Tensor | None = None
        self.primal: _Product | None = None
        """The baseline whose product serves as the primal; None where it is taken anew."""

    def plan(
        self, baselines: dict[int, _Product], dtype: torch.dtype, device: torch.device
    ) -> None:
        """Split the input and allocate the output."""
        x, tangent = _input(self.request), None
        if self.is_jvp:
            x, tangent = unpack_dual(x)
        width = x.shape[-1]
        self._shape = (*x.shape[:-1], self.request.stop - self.request.start)
        self.x = x.to(dtype).reshape(-1, width)
        if tangent is not None:
            self.x_tangent = tangent.to(dtype).reshape(-1, width)
        baseline = baselines.get(self.coroutine.evaluation.batch) if self.is_jvp else None
        if baseline is not None and _input(baseline.request).shape == x.shape:
            self.primal = baseline
        size = (len(self.x), self._shape[-1])
        if self.primal is None:
            self.y = torch.empty(size, dtype=dtype, device=device)
        if self.is_jvp:
            self.y_tangent = torch.empty(size, dtype=dtype, device=device)

    def add_bias(self, bias: Tensor, delta: Tensor | None) -> None:
        """Add b, or its perturbed value, or to a tangent its direction."""
        step = self.coroutine.evaluation.step
        if self.y is not None:
            self.y += bias if delta is None or step is None else bias.add(delta, alpha=step)
        if self.y_tangent is not None and delta is not None:
            self.y_tangent += delta

    def release(self) -> None:
        """Let go of the input, so that only evaluations that still need it hold it."""
        self.x = self.x_tangent = self.request.x = None

    def response(self) -> tuple[Tensor, Tensor | None]:
        """The product and, in a JVP, its tangent, in the shape of the input."""
        y = self.y
        if self.primal is not None:
            y = self.primal.y
            assert y is not None
            if not self._share:
                y = y.clone()
        assert y is not None
        tangent = None if self.y_tangent is None else self.y_tangent.view(self._shape)
        return y.view(self._shape), tangent


def _input(request: ProductRequest) -> Tensor:
    assert request.x is not None, "the input of a product was let go before it was taken"
    return request.x


def _multiply(
    products: Sequence[_Product],
    value: Tensor,
    delta: Tensor | None,
    step: float | None,
    columns: slice,
    scratch: _Scratch,
) -> None:
    """The products of evaluations at one point of parameter space with one slice of W."""
    if step is not None and delta is not None:
        value = torch.add(value, delta, alpha=step, out=scratch.like(value))
    for product in products:
        assert product.x is not None
        if product.y is not None:
            torch.mm(product.x, value.T, out=product.y[:, columns])
        if product.y_tangent is None:
            continue
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


def _moved(value: Tensor, delta: Tensor | None, step: float | None) -> Tensor:
    """A value as an evaluation sees it: as it is, with its direction as tangent, or moved."""
    if delta is None:
        return value
    if step is None:
        return make_dual(value, delta)
    return torch.add(value, delta, alpha=step)


def _order(coroutine: Coroutine) -> tuple[int, int, float, int]:
    """Baselines first, then direction by direction, the JVP before the steps."""
    evaluation = coroutine.evaluation
    direction = -1 if evaluation.direction is None else evaluation.direction
    step = evaluation.step
    return direction, 0 if step is None else 1, step or 0.0, evaluation.batch
