"""The last-token logits of a batch the plain way, sharing no code with the package."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor, nn

from pytest_linearity.probes.batches import Batch


def plain_last_tokens(model: nn.Module, batch: Batch) -> Tensor:
    """The row of each prompt's last token, out of the logits of all tokens.

    Args:
        model: A causal language model of transformers.
        batch: Right-padded prompts.

    Returns:
        Float Tensor [prompts, V].
    """
    masked = "attention_mask" in inspect.signature(model.forward).parameters
    mask = {"attention_mask": batch.attention_mask} if masked else {}
    logits = model(input_ids=batch.input_ids, **mask)[0]
    lengths = batch.attention_mask.sum(dim=1).tolist()
    return torch.stack([row[length - 1] for row, length in zip(logits, lengths, strict=True)])
