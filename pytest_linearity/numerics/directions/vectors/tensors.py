"""A vector over the parameters that is there as tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pytest_linearity.numerics.directions.layout import matrix_shape

_BYTES_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class TensorVector:
    """A vector with a tensor for each parameter."""

    label: str
    """What a report calls it."""
    zero: str
    """What a message says where it is zero."""
    tensors: Mapping[str, Tensor]
    """By canonical name, of the parameter's shape, floating, on the CPU."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """What the report says of it."""

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Some rows of one tensor, seen as a matrix."""
        tensor = self.tensors[name]
        return tensor.reshape(matrix_shape(tuple(tensor.shape)))[start:stop]

    def facts(self, shapes: Iterable[str]) -> Mapping[str, Any]:
        """What the report says of it."""
        return self.more


def tensors_digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 over names, dtypes, shapes and values, in the order given."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        flat = tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8)
        for piece in torch.split(flat, _BYTES_AT_ONCE):
            digest.update(piece.numpy().data)
    return digest.hexdigest()
