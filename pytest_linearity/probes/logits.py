"""A batch of prompts -> the call that gives its last-token logits."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pytest_linearity.probes.batches import Batch


@dataclass(frozen=True)
class LastTokenLogits:
    """Runs a causal language model on one batch; call it without arguments."""

    model: nn.Module
    """A causal language model of transformers."""
    inputs: Mapping[str, Any]
    """Keyword arguments of its forward."""
    column: Tensor
    """int64 Tensor [prompts]: place of each prompt's last token among the positions kept."""
    real: Tensor
    """bool Tensor [tokens], False at padding."""
    needed: Tensor
    """bool Tensor [tokens], True at each prompt's last token."""

    @property
    def tokens(self) -> int:
        """How many tokens the batch has, padding included."""
        return len(self.real)

    def __call__(self) -> Tensor:
        """The last-token logits, Tensor [prompts, V]."""
        return self.run(self.inputs)

    def run(self, inputs: Mapping[str, Any]) -> Tensor:
        """The last-token logits of a forward with these arguments, Tensor [prompts, V]."""
        output = self.model(**inputs)
        logits: Tensor = output.logits if hasattr(output, "logits") else output[0]
        return logits[torch.arange(len(self.column), device=logits.device), self.column]


def forward_inputs(
    model: nn.Module, batch: Batch, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """Keyword arguments of a forward that gives the logits of every token of a batch.

    Args:
        model: A causal language model of transformers.
        batch: Right-padded prompts.
        device: Where the inputs are placed.
    """
    accepted = inspect.signature(model.forward).parameters
    inputs: dict[str, Any] = {"input_ids": batch.input_ids.to(device)}
    if "attention_mask" in accepted:
        inputs["attention_mask"] = batch.attention_mask.to(device)
    if "use_cache" in accepted or "kwargs" in accepted:
        inputs["use_cache"] = False
    return inputs


def last_token_logits(
    model: nn.Module, batch: Batch, device: torch.device | str = "cpu"
) -> LastTokenLogits:
    """The call that runs a causal language model on one batch.

    Only the positions that are some prompt's last token reach the vocabulary projection, where the
    model takes `logits_to_keep`.

    Args:
        model: A causal language model of transformers.
        batch: Right-padded prompts.
        device: Where the inputs are placed.

    Example:
        >>> from pytest_linearity import load_checkpoint, load_config, load_probes
        >>> config = load_config("examples/arithmetic/linearity.yaml", ["max_samples=2"])
        >>> checkpoint = load_checkpoint(config)
        >>> probes = load_probes(config, checkpoint.tokenizer, max_length=checkpoint.max_length)
        >>> logits = last_token_logits(checkpoint.model, probes.batches[0])
        >>> logits().shape[0]  # [prompts, V]
        2
    """
    positions, place = torch.unique(batch.last, return_inverse=True)
    inputs = forward_inputs(model, batch, device)
    keeps = "logits_to_keep" in inspect.signature(model.forward).parameters
    if keeps:
        inputs["logits_to_keep"] = positions.to(device)
    return LastTokenLogits(
        model=model,
        inputs=inputs,
        column=(place if keeps else batch.last).to(device),
        real=batch.attention_mask.bool().flatten(),
        needed=(torch.arange(batch.input_ids.shape[1]) == batch.last[:, None]).flatten(),
    )
