"""Token ids of many prompts -> padded tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Prompts of one forward pass, padded on the right.

    A causal model cannot see to the right, so the logits of a prompt are those of it alone.
    """

    input_ids: Tensor
    """int64 [B, T]: token ids of B prompts, T those of the longest."""
    attention_mask: Tensor
    """int64 [B, T]: 1 for a token of a prompt, 0 for padding."""
    last: Tensor
    """int64 [B]: position of each prompt's last token."""
    rows: tuple[int, ...]
    """Place of each prompt among all prompts of the run, from 0."""


def make_batches(
    prompts: Sequence[Sequence[int]], *, size: int, pad_id: int, padded: bool = True
) -> tuple[Batch, ...]:
    """Cut prompts into batches, those of like length together, so that little is padding.

    Args:
        prompts: Token ids, at least one for each prompt.
        size: Prompts per batch.
        pad_id: Token id of padding.
        padded: Whether prompts of different length may share a batch.
    """
    order = sorted(range(len(prompts)), key=lambda row: (len(prompts[row]), row))
    alike = [order] if padded else _by_length(prompts, order)
    groups = [rows[at : at + size] for rows in alike for at in range(0, len(rows), size)]
    return tuple(_batch(prompts, tuple(rows), pad_id) for rows in groups)


def _by_length(prompts: Sequence[Sequence[int]], order: Sequence[int]) -> list[list[int]]:
    return [list(rows) for _, rows in groupby(order, key=lambda row: len(prompts[row]))]


def _batch(prompts: Sequence[Sequence[int]], rows: tuple[int, ...], pad_id: int) -> Batch:
    import torch

    lengths = torch.tensor([len(prompts[row]) for row in rows])
    width = int(lengths.max())
    ids = [[*prompts[row], *[pad_id] * (width - len(prompts[row]))] for row in rows]
    return Batch(
        input_ids=torch.tensor(ids),
        attention_mask=(torch.arange(width) < lengths[:, None]).long(),
        last=lengths - 1,
        rows=rows,
    )
