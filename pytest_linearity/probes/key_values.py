"""Caches of transformers that hand a shared prefix's keys and values to the prompts.

All layers attend to everything here, and the model's own mask says what a sliding window cannot
see. A model that keeps another kind of state asks these caches for what they do not have, and
fails, or computes something else; `prefix_check` finds out either way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import CacheLayerMixin, DynamicLayer

from pytest_linearity.numerics.lockstep.prefix import PrefixMismatch, SharedPrefix


def giving_cache(model: nn.Module, prefix: SharedPrefix) -> DynamicCache:
    """The cache of a forward over the prefix: what is put into it goes to the prompts."""
    return _cache(model, lambda layer: _PrefixLayer(prefix, layer))


def taking_cache(model: nn.Module, prefix: SharedPrefix) -> DynamicCache:
    """The cache of a forward over what follows the prefix, with the prefix in it."""
    return _cache(model, lambda layer: _PromptLayer(prefix, layer))


def _cache(model: nn.Module, layer: Callable[[int], CacheLayerMixin]) -> DynamicCache:
    cache = DynamicCache()
    config: Any = model.config
    layers = config.get_text_config(decoder=True).num_hidden_layers
    cache.layers = [layer(place) for place in range(layers)]
    cache.layer_class_to_replicate = None
    return cache


class _PrefixLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Hands keys and values of the prefix, as one layer makes them, to the shared prefix."""

    def __init__(self, prefix: SharedPrefix, place: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._prefix = prefix
        self._place = place
        self._length = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        self._length += key_states.shape[-2]
        self._prefix.put(self._place, key_states, value_states)
        return key_states, value_states

    def get_seq_length(self, *args: Any) -> int:
        return self._length


class _PromptLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Puts a layer's keys and values of the prefix before those of every prompt."""

    def __init__(self, prefix: SharedPrefix, place: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._prefix = prefix
        self._place = place
        self._length = prefix.tokens

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        if self._length > self._prefix.tokens:
            raise PrefixMismatch(f"layer {self._place} caches keys and values twice in one forward")
        self._length += key_states.shape[-2]
        keys, values = self._prefix.take(self._place)
        return _joined(keys, key_states), _joined(values, value_states)

    def get_seq_length(self, *args: Any) -> int:
        return self._length


def _joined(first: Tensor, rest: Tensor) -> Tensor:
    """One prefix before every prompt's own, Tensor [prompts, heads, tokens, features]."""
    return torch.cat([first.expand(len(rest), *first.shape[1:]), rest], dim=-2)
