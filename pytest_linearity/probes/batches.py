"""Token ids of many prompts -> padded tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Prompts of one forward pass, padded on the right.

    A causal model cannot see to the right, so the logits of a prompt are those of it alone.
    """

    input_ids: Tensor
    """int64 [B, T]."""
    attention_mask: Tensor
    """int64 [B, T]: 1 for a token of a prompt, 0 for padding."""
    last: Tensor
    """int64 [B]: position of each prompt's last token."""
    rows: tuple[int, ...]
    """Place of each prompt among all of them."""


def make_batches(prompts: Sequence[Sequence[int]], *, size: int, pad_id: int) -> tuple[Batch, ...]:
    """Cut prompts into batches, those of like length together, so that little is padding.

    Args:
        prompts: Token ids, at least one for each prompt.
        size: Prompts per batch.
        pad_id: Token id of padding.
    """
    order = sorted(range(len(prompts)), key=lambda row: (len(prompts[row]), row))
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    return tuple(_batch(prompts, tuple(rows), pad_id) for rows in groups)


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
