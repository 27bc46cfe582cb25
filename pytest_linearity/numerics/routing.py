"""Discrete choices inside a forward: which experts a router takes.

A choice that differs between θ* and θ* + rδ is a jump that no derivative can see, so the report
counts them. And a choice between scores that are nearly equal may turn out otherwise by rounding
alone, at one and the same point.
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
        self.margins: list[Tensor] = []
        """By choice, how far the last score taken is from the next, relative to the largest."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call, and note a choice."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in _TOP and args and args[0].is_floating_point():
            # Which ones, not in which order.
            self.chosen.append(result[1].sort(dim=-1).values.to(torch.int32))
            self._note_margin(_margin_of_top, args, kwargs)
        elif func in _ARGMAX and args and args[0].is_floating_point():
            self.chosen.append(result.to(torch.int32).unsqueeze(-1))
            self._note_margin(_margin_of_largest, args, kwargs)
        return result

    def _note_margin(
        self, margin: Callable[..., Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        # Unseen by others that note choices, as where several measurements share a baseline.
        with torch._C.DisableTorchFunction():
            self.margins.append(margin(*args, **kwargs))


def _margin_of_top(
    scores: Tensor, k: int, dim: int = -1, largest: bool = True, *_: Any, **__: Any
) -> Tensor:
    if scores.dim() == 0 or k >= scores.shape[dim] or k < 1:
        return torch.full_like(scores.sum(dim) if scores.dim() else scores, torch.inf)
    last, following = scores.topk(k + 1, dim, largest).values.narrow(dim, k - 1, 2).unbind(dim)
    sizes = scores.abs()
    size = sizes.masked_fill(~sizes.isfinite(), 0).amax(dim)
    # Where both are zero, something has been masked, and no rounding has a say.
    structural = (last == 0) & (following == 0)
    return ((last - following).abs() / size).masked_fill(structural, torch.inf)


def _margin_of_largest(
    scores: Tensor, dim: int | None = None, keepdim: bool = False, **_: Any
) -> Tensor:
    if dim is None:
        return _margin_of_top(scores.reshape(-1), 1)
    margin = _margin_of_top(scores, 1, dim)
    return margin.unsqueeze(dim) if keepdim else margin


def near_ties(selections: Selections, width: float, real: Tensor | None = None) -> int:
    """How many choices rounding may turn.

    Args:
        selections: Choices of one evaluation.
        width: Relative margin below which it may; see `margin_noise`.
        real: bool Tensor [tokens], False at padding, whose choices do not count; None counts all.
    """
    return sum(int(_real(margin < width, real).sum()) for margin in selections.margins)


def margin_noise(exact: Selections, rounded: Selections) -> float:
    """How far margins differ between two arithmetics at one point, at most."""
    return max(
        (
            float((ours.double() - theirs.double()).abs().nan_to_num(0.0, 0.0).max())
            for ours, theirs in zip(exact.margins, rounded.margins, strict=False)
            if ours.shape == theirs.shape and ours.numel()
        ),
        default=0.0,
    )


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
        count += int(_real((ours != theirs).any(dim=-1), real).sum())
    return count + sum(
        selection.shape[:-1].numel()
        for longer, shorter in ((baseline, other), (other, baseline))
        for selection in longer.chosen[len(shorter.chosen) :]
    )


def _real(marked: Tensor, real: Tensor | None) -> Tensor:
    """Choices that are marked, those of padding left out."""
    marked = marked.reshape(-1)
    if real is not None and len(real) == len(marked):
        marked = marked & real.to(marked.device)
    return marked
