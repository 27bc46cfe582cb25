"""Whether prompts share a prefix, decided before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from pytest_linearity.lockstep.prefix import SharedPrefix
from pytest_linearity.logits import LastTokenLogits
from pytest_linearity.shared_logits import after, shared_prefix, why_no_cache

_LEAST_TOKENS = 8
_LEAST_SAVED = 0.1
"""Part of all tokens that sharing must save: less is about what checking it costs."""


@dataclass(frozen=True)
class Sharing:
    """The calls that a measurement is made with."""

    batches: Sequence[LastTokenLogits]
    """One per batch."""
    calibration: LastTokenLogits
    """A small part of them."""
    prefix: SharedPrefix | None = None
    """What all prompts begin with, evaluated apart; None where every prompt is evaluated whole."""
    reason: str | None = None
    """Why every prompt is; None where there is a prefix."""

    def describe(self) -> dict[str, Any]:
        """What came of it, for the report's environment."""
        prefix = self.prefix
        skipped = self.reason if prefix is None else prefix.skipped
        shared = None if prefix is None or skipped is not None else prefix.tokens
        return {"shared_prefix": shared, "shared_prefix_skipped": skipped}


def share(
    batches: Sequence[LastTokenLogits],
    calibration: LastTokenLogits,
    prompts: Sequence[Sequence[int]],
) -> Sharing:
    """Leave what all prompts begin with to an evaluation of its own, where that saves work.

    Args:
        batches: The calls of all batches.
        calibration: The call of the start of one prompt.
        prompts: The token ids of all prompts.
    """
    tokens = shared_length(prompts)
    reason = why_not(prompts, tokens) or why_no_cache(calibration.model)
    if reason is not None:
        return whole(batches, calibration, reason)
    prefix = shared_prefix(batches[0], tokens)
    short = shared_prefix(calibration, calibration.tokens // 2)
    return Sharing([after(run, prefix) for run in batches], after(calibration, short), prefix)


def whole(batches: Sequence[LastTokenLogits], calibration: LastTokenLogits, reason: str) -> Sharing:
    """Every prompt evaluated whole."""
    return Sharing(batches, calibration, reason=reason)


def shared_length(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with in common, each with one at least to follow."""
    columns = zip(*prompts, strict=False)
    common = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
    return min(common, min(map(len, prompts)) - 1)


def why_not(prompts: Sequence[Sequence[int]], tokens: int) -> str | None:
    """Why it is not worth while to share so many tokens; None where it is."""
    if len(prompts) == 1:
        return "there is only one prompt"
    if tokens < _LEAST_TOKENS:
        return f"the prompts begin with {tokens} tokens in common, fewer than {_LEAST_TOKENS}"
    saved = tokens * (len(prompts) - 1) / sum(map(len, prompts))
    if saved < _LEAST_SAVED:
        return f"{tokens} tokens in common would save {saved:.1%} of all, less than it costs"
    return None
