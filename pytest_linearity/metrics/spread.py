"""Many pairs -> their mean and their spread."""

from __future__ import annotations

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
    if not values.isfinite().all():
        return None, None
    return float(values.mean()), float(values.std(correction=0))
