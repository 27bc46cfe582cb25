"""Discrete choices inside a forward: which experts a router takes.

A choice that differs between θ* and θ* + rδ is a jump that no derivative can see, so the report
counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_TOP: frozenset[Any] = frozenset([torch.topk, Tensor.topk])
_ARGMAX: frozenset[Any] = frozenset([torch.argmax, Tensor.argmax])


class Selections(TorchFunctionMode):
    """Notes what `topk` and `argmax` choose from floating-point scores, in order of the calls."""

    def __init__(self) -> None:
        """A mode for one forward."""
        super().__init__()
        self.chosen: list[Tensor] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call, and note a choice."""
        result = func(*args, **(kwargs or {}))
        if func in _TOP and args and args[0].is_floating_point():
            # Which ones, not in which order.
            self.chosen.append(result[1].sort(dim=-1).values.to(torch.int32))
        elif func in _ARGMAX and args and args[0].is_floating_point():
            self.chosen.append(result.to(torch.int32).unsqueeze(-1))
        return result


def flips(baseline: Selections, other: Selections, real: Tensor | None = None) -> int:
    """How many choices differ between two evaluations of the same prompts.

    Args:
        baseline: Choices at θ*.
        other: Choices elsewhere.
        real: bool Tensor [tokens], False at padding, whose choices do not count; None counts all.

    Returns:
        The number of (token, layer) choices whose set differs.
    """
    count = 0
    for ours, theirs in zip(baseline.chosen, other.chosen, strict=False):
        if ours.shape != theirs.shape:
            count += max(len(ours), len(theirs))
            continue
        changed = (ours != theirs).any(dim=-1).reshape(-1)
        if real is not None and len(real) == len(changed):
            changed &= real.to(changed.device)
        count += int(changed.sum())
    return count + sum(
        selection.shape[:-1].numel()
        for longer, shorter in ((baseline, other), (other, baseline))
        for selection in longer.chosen[len(shorter.chosen) :]
    )
