"""Many pairs -> their mean and their spread."""

from __future__ import annotations

from math import frexp, isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def mean_std(values: Tensor) -> tuple[float | None, float | None]:
    """Mean and population standard deviation: the pairs are all there are.

    Args:
        values: Float Tensor of any shape.

    Returns:
        ``None`` for both where a value is not finite.
    """
    largest = float(values.abs().max())
    if not isfinite(largest):
        return None, None
    # Squares of large values leave the range of floats; a power of two changes nothing else.
    scale = 2.0 ** (frexp(largest)[1] - 1)
    scaled = values / scale
    return scale * float(scaled.mean()), scale * float(scaled.std(correction=0))
