"""What an evaluation waits for when it uses a parameter: values, a product, or some rows.

A placeholder (see `served`) makes the request where the forward uses the parameter, the scheduler
collects the like of it from all evaluations, and `Supply` answers. Most uses are products and
look-ups, which need no more than a slice of the parameter at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class Request:
    """The value of a parameter, or of a run of its rows."""

    name: str
    """Canonical name of the parameter."""
    start: int
    """First row, of the parameter seen as a matrix (see `directions.matrix_shape`)."""
    stop: int
    """Row after the last."""
    shape: tuple[int, ...]
    """Shape in which the evaluation sees these rows."""

    @property
    def key(self) -> tuple[str, int, int]:
        """What is asked for: evaluations that wait for the same key are served together."""
        return self.name, self.start, self.stop

    @property
    def names(self) -> tuple[str, ...]:
        """Canonical names of all parameters that are asked for."""
        return (self.name,)


@dataclass
class ProductRequest(Request):
    """The product x Wᵀ + b with a matrix W, which itself is not needed."""

    x: Tensor
    """Input, float Tensor [..., in]; a dual number inside a JVP."""
    bias: str | None
    """Canonical name of b, a vector; None without one."""

    @property
    def names(self) -> tuple[str, ...]:
        """Those of W and b."""
        return (self.name,) if self.bias is None else (self.name, self.bias)


@dataclass
class RowsRequest(Request):
    """Some rows of a matrix: an embedding."""

    ids: Tensor
    """Row numbers, integer Tensor of any shape."""
