"""Dual numbers of torch's forward mode, with types."""

from __future__ import annotations

import warnings

from torch import Tensor
from torch.autograd import forward_ad

with warnings.catch_warnings():
    # Torch imports this on the first dual number, and warns of its own use of TorchScript there.
    warnings.simplefilter("ignore", DeprecationWarning)
    from torch._decomp import decompositions_for_jvp  # noqa: F401


def make_dual(primal: Tensor, tangent: Tensor) -> Tensor:
    """The dual number (primal, tangent): two float Tensors of one shape, dtype and device."""
    dual: Tensor = forward_ad.make_dual(primal, tangent)  # type: ignore[no-untyped-call]
    return dual


def unpack_dual(value: Tensor) -> tuple[Tensor, Tensor | None]:
    """The primal and the tangent of a tensor; the tangent is None where there is none."""
    primal, tangent = forward_ad.unpack_dual(value)  # type: ignore[no-untyped-call]
    return primal, tangent
