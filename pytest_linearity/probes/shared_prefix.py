"""Batches whose prompts begin alike: the shared prefix apart, and each prompt from there on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from torch import Tensor, nn

from pytest_linearity.numerics.lockstep.prefix import SharedPrefix
from pytest_linearity.probes.logits import LastTokenLogits


@dataclass(frozen=True)
class SuffixLogits(LastTokenLogits):
    """Runs a model on what follows the prefix in one batch, beside an evaluation of the prefix."""

    prefix: SharedPrefix
    """What all prompts begin with."""
    plain: LastTokenLogits
    """The same batch with every prompt whole."""

    @property
    def tokens(self) -> int:
        """How many tokens the batch has, padding included, and the prefix beside it."""
        return len(self.real) + self.prefix.tokens

    def __call__(self) -> Tensor:
        """The last-token logits, Tensor [prompts, V]."""
        from pytest_linearity.probes.key_values import taking_cache

        cache = taking_cache(self.model, self.prefix)
        return self.run({**self.inputs, "past_key_values": cache})

    @property
    def length(self) -> int:
        """How many tokens the longest prompt has, prefix included."""
        return int(self._lengths.max())

    def longest(self) -> SuffixLogits:
        """The longest prompt alone."""
        return after(_row(self.plain, int(self._lengths.argmax())), self.prefix)

    @property
    def _lengths(self) -> Tensor:
        return self.plain.real.view(len(self.column), -1).sum(dim=1)


def why_no_cache(model: nn.Module) -> str | None:
    """Why a model's forward cannot go on from keys and values; None if it looks as if it could."""
    if getattr(model, "_is_stateful", False):
        return "the architecture keeps more than keys and values of earlier tokens"
    accepted = inspect.signature(model.forward).parameters
    if not {"past_key_values", "kwargs"} & accepted.keys():
        return "the model's forward takes no key-value cache"
    return None


def shared_prefix(run: LastTokenLogits, tokens: int) -> SharedPrefix:
    """The prefix of a batch whose prompts have at least so many tokens in common."""
    inputs = {
        **_tokens(run, lambda table: table[:1, :tokens]),
        **({"logits_to_keep": 1} if "logits_to_keep" in run.inputs else {}),
        "use_cache": True,
    }

    def forward(prefix: SharedPrefix) -> None:
        from pytest_linearity.probes.key_values import giving_cache

        run.model(**inputs, past_key_values=giving_cache(run.model, prefix))

    return SharedPrefix(tokens, forward)


def after(run: LastTokenLogits, prefix: SharedPrefix) -> SuffixLogits:
    """A batch from the prefix on; every prompt must begin with it, and be longer."""
    inputs = {**run.inputs, "use_cache": True}
    inputs["input_ids"] = inputs["input_ids"][:, prefix.tokens :].contiguous()
    if "logits_to_keep" in inputs:
        inputs["logits_to_keep"] = inputs["logits_to_keep"] - prefix.tokens
    prompts = len(run.column)
    return SuffixLogits(
        model=run.model,
        inputs=inputs,
        column=run.column if "logits_to_keep" in inputs else run.column - prefix.tokens,
        real=run.real.view(prompts, -1)[:, prefix.tokens :].flatten(),
        needed=run.needed.view(prompts, -1)[:, prefix.tokens :].flatten(),
        prefix=prefix,
        plain=run,
    )


def _row(run: LastTokenLogits, row: int) -> LastTokenLogits:
    """One prompt of a batch."""
    part, prompts = slice(row, row + 1), len(run.column)
    return replace(
        run,
        inputs={**run.inputs, **_tokens(run, lambda table: table[part])},
        column=run.column[part],
        real=run.real.view(prompts, -1)[row],
        needed=run.needed.view(prompts, -1)[row],
    )


def _tokens(run: LastTokenLogits, change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Those inputs that are a Tensor [prompts, tokens], changed."""
    return {
        name: change(run.inputs[name])
        for name in ("input_ids", "attention_mask")
        if name in run.inputs
    }


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
