"""Llama-shaped models with random weights, and prompts for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM


@dataclass(frozen=True)
class Work:
    """A model and its prompts."""

    model: nn.Module
    ids: Tensor

    @property
    def tokens(self) -> int:
        return self.ids.numel()

    @property
    def needed(self) -> Tensor:
        """Whether a token's logits are looked at: the last of every prompt."""
        needed = torch.zeros(self.ids.shape, dtype=torch.bool)
        needed[:, -1] = True
        return needed.flatten()

    def everywhere(self) -> Tensor:
        """Logits of every position, the last of them returned."""
        return self.model(input_ids=self.ids, use_cache=False).logits[:, -1]

    def last(self) -> Tensor:
        """Logits of the last position only."""
        return self.model(input_ids=self.ids, use_cache=False, logits_to_keep=1).logits[:, -1]

    def __call__(self) -> Tensor:
        return self.last()

    def small(self) -> Callable[[], Tensor]:
        """The part that calibration looks at: the start of one prompt."""
        return Work(self.model, self.ids[:1, :16])


def llama_config(
    hidden: int, layers: int, mlp: int, vocabulary: int, heads: int = 16
) -> LlamaConfig:
    return LlamaConfig(
        hidden_size=hidden,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        vocab_size=vocabulary,
        tie_word_embeddings=False,
        attn_implementation="eager",
    )


def llama(hidden: int, layers: int, mlp: int, vocabulary: int, prompts: int, length: int) -> Work:
    """A random Llama in float32 and random prompts of one length."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(llama_config(hidden, layers, mlp, vocabulary)).eval()
    model.requires_grad_(False)
    return Work(model, torch.randint(0, vocabulary, (prompts, length)))
