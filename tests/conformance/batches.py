"""The prompts, together in a padded batch and each alone."""

from __future__ import annotations

import copy

import torch
from torch import nn

from pytest_linearity.probes.batches import Batch, make_batches
from tests.support.last_tokens import plain_last_tokens
from tests.support.oracle import true_float64

from .sizes import VOCABULARY

LENGTHS = (7, 12)


def together() -> tuple[Batch, ...]:
    """All prompts in one batch, padded on the right."""
    return make_batches(_prompts(), size=len(LENGTHS), pad_id=0)


def alone() -> tuple[Batch, ...]:
    """Each prompt in a batch of its own."""
    return make_batches(_prompts(), size=1, pad_id=0)


def padding(model: nn.Module) -> float:
    """How far the logits of a padded prompt are from its own, relative, by brute force."""
    exact = copy.deepcopy(model).double()
    with true_float64(), torch.no_grad():
        padded, single = (
            torch.cat([plain_last_tokens(exact, batch) for batch in batches])
            for batches in (together(), alone())
        )
    return float(((padded - single).norm(dim=-1) / single.norm(dim=-1)).max())


def _prompts() -> list[list[int]]:
    """Token ids of random prompts of different lengths, without special tokens."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(5, VOCABULARY, (n,), generator=generator).tolist() for n in LENGTHS]
