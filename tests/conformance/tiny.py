"""Tiny random models of any causal-LM architecture of transformers."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from .overrides import DEFAULT, OVERRIDES
from .sizes import HEADS, SIZES


def architectures() -> dict[str, str]:
    """Class by name of every causal-LM architecture of the installed transformers."""
    return dict(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items()))


def tiny_config(name: str) -> Any:
    """A config with small sizes in all its spellings."""
    return _shrunk(CONFIG_MAPPING[name], OVERRIDES.get(name, {}), {})


def _shrunk(kind: Any, overrides: dict[str, Any], defaults: dict[str, Any]) -> Any:
    known = {field.name for field in fields(kind)}
    values = {**defaults, **{key: value for key, value in SIZES.items() if key in known}}
    if "kv_lora_rank" in known:  # compressed keys and values are expanded for every head
        values["num_key_value_heads"] = HEADS
    for key, inner in kind.sub_configs_defaults.items():
        inner_kind = CONFIG_MAPPING[inner.model_type] if inner.model_type else inner.config_class
        values[key] = _shrunk(inner_kind, overrides.get(key, {}), inner.init_kwargs)
    own = {k: v for k, v in overrides.items() if k not in kind.sub_configs_defaults}
    return kind(**{key: value for key, value in (values | own).items() if value is not DEFAULT})


def tiny_model(name: str, seed: int = 0, **sizes: int) -> nn.Module:
    """A random model in evaluation mode, every part of which matters to the logits.

    Args:
        name: The architecture.
        seed: Of the weights.
        sizes: Entries of the config in place of the small ones; those that it does not have are
            left out.
    """
    config = tiny_config(name)
    for key in sizes.keys() & vars(config).keys():
        setattr(config, key, sizes[key])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(
            config,
            dtype=torch.float32,
            attn_implementation="eager",
            experts_implementation="eager",
        )
        _spread(model)
    model.eval().requires_grad_(False)
    model.config.use_cache = False
    return model


def _spread(model: nn.Module) -> None:
    """Re-draw weights widely, so that a tensor that is dropped or misplaced shows."""
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.is_floating_point():
                continue
            noise = torch.randn(parameter.shape)
            if parameter.dim() > 1:
                parameter.copy_(0.2 * noise)
            else:  # norms' ones and decays keep their place
                parameter.add_(0.1 * noise)
