"""One forward of a model, as the sizes of what it does."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor, nn

from pytest_linearity.numerics.calibration.trial import TAIL_CANDIDATES
from pytest_linearity.numerics.routing import Selections
from pytest_linearity.plan.rehearsal import Rehearsal

TOKENS = 16
"""Length of the prompt that the forward is followed on."""


@dataclass(frozen=True)
class Linear:
    """One use of a linear layer."""

    name: str
    """Canonical name of its matrix."""
    inputs: int
    """Features of its input."""
    outputs: int
    """Features of its output."""
    per_token: float
    """Rows of its input for every token; 0 where it has one for every prompt."""
    in_tail: bool
    """Whether only the last token's row matters."""

    def rows(self, prompts: int, tokens: int) -> float:
        """Rows of its input that are computed, for so many prompts of so many tokens together."""
        return prompts if self.in_tail or not self.per_token else tokens * self.per_token


@dataclass(frozen=True)
class Forward:
    """All linear layers in the order of their use."""

    linears: tuple[Linear, ...]
    """The uses."""
    embedding: str | None
    """The matrix that token ids are looked up in."""

    def widest(self) -> int:
        """Inputs plus outputs of the widest linear layer, in features per token.

        As calibration finds it: what sees last tokens only counts for one token of a short prompt.
        """
        shares = (use.per_token or 1 / TOKENS for use in self.linears)
        widths = (use.inputs + use.outputs for use in self.linears)
        return max((ceil(w * s) for w, s in zip(widths, shares, strict=True)), default=1)

    def trunk(self, scope: frozenset[str]) -> int:
        """How many of the uses come before the first parameter in a scope."""
        if self.embedding in scope:
            return 0
        places = [place for place, use in enumerate(self.linears) if use.name in scope]
        return min(places, default=len(self.linears))


def follow(model: nn.Module) -> Forward:
    """Follow the forward of a skeleton on one short prompt.

    Raises:
        Exception: Whatever the forward raises.
    """
    whole, selections = Rehearsal(model, dual=False), Selections()
    with selections:
        rehearse(model, whole, prompts=1, length=TOKENS)
    rows = [use.rows for use in whole.uses]
    # A router's choices could depend on what is left out.
    candidates = () if selections.chosen else range(len(rows))[-TAIL_CANDIDATES:]
    tail = {at for at in candidates if rows[at] == TOKENS and _ends_there(model, at)}
    return Forward(
        tuple(
            Linear(
                use.name,
                use.inputs,
                use.outputs,
                0 if use.rows == 1 and at == len(rows) - 1 else use.rows / TOKENS,
                at in tail,
            )
            for at, use in enumerate(whole.uses)
        ),
        whole.looked_up,
    )


def rehearse(model: nn.Module, rehearsal: Rehearsal, prompts: int, length: int) -> Tensor:
    """Run a forward that computes no products, and return its logits.

    Args:
        model: A skeleton.
        rehearsal: Stands in for the products.
        prompts: How many prompts.
        length: Tokens of each.
    """
    from pytest_linearity.probes.batches import make_batches
    from pytest_linearity.probes.logits import last_token_logits

    device = next((b.device for b in model.buffers()), torch.device("cpu"))
    (batch,) = make_batches([(0,) * length] * prompts, size=prompts, pad_id=0)
    run = last_token_logits(model, batch, device)
    with torch.no_grad(), rehearsal:
        return run()


def _ends_there(model: nn.Module, use: int) -> bool:
    """Whether the last token's logits do not depend on other tokens' rows of a product."""
    blank = Rehearsal(model, dual=False, blank=frozenset([use]))
    return bool(rehearse(model, blank, prompts=1, length=TOKENS).isfinite().all())
