"""A model without its weights: built from its config, small enough for any machine."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


class _MatricesOnMeta(TorchFunctionMode):
    """Gives matrices no memory; vectors, and all that is computed, are real."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call, with empty tensors of two and more dimensions being without memory."""
        kwargs = dict(kwargs or {})
        if func is torch.empty and len(_shape(args, kwargs)) >= 2:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def skeleton(declared: Any, *, layers: int | None = None, trust_remote_code: bool) -> nn.Module:
    """The model of a config of transformers, in float32, with matrices on the meta device.

    Args:
        declared: The config.
        layers: Only so many of its blocks; None for all.
        trust_remote_code: Whether code that comes with the checkpoint may run.

    Raises:
        Exception: Whatever the model's code raises.
    """
    from transformers import AutoModelForCausalLM

    from pytest_linearity.checkpoint import hub
    from pytest_linearity.checkpoint.declared import eager

    loader: Any = AutoModelForCausalLM
    config = copy.deepcopy(declared)
    if layers is not None:
        _shorten(config.get_text_config(), layers)
    with hub.quiet(), _MatricesOnMeta():
        model: nn.Module = loader.from_config(
            config, dtype=torch.float32, trust_remote_code=trust_remote_code, **eager()
        )
    model.requires_grad_(False)
    model.config.use_cache = False  # type: ignore[union-attr]
    return model.eval()


def placed(model: nn.Module, device: torch.device) -> nn.Module:
    """The skeleton with what it has of values on a device."""
    for module in model.modules():
        for values in (module._parameters, module._buffers):
            for name, value in values.items():
                if value is not None and value.device.type != "meta":
                    moved = value.detach().to(device)
                    is_parameter = isinstance(value, nn.Parameter)
                    # The two mappings hold different types, which a union of them forgets.
                    cast(Any, values)[name] = nn.Parameter(moved, False) if is_parameter else moved
    return model


def blocks_of(declared: Any) -> int | None:
    """How many repeated blocks a config says that its model has; None where it does not say."""
    count = getattr(declared.get_text_config(), "num_hidden_layers", None)
    return count if isinstance(count, int) and count > 0 else None


def _shorten(config: Any, layers: int) -> None:
    """Leave so many blocks, in whatever a config says of each."""
    whole = config.num_hidden_layers
    config.num_hidden_layers = layers
    for key, value in vars(config).items():
        if isinstance(value, list) and len(value) == whole:
            setattr(config, key, value[:layers])


def _shape(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int, ...]:
    size = kwargs.get("size", args[0] if len(args) == 1 else args)
    return (size,) if isinstance(size, int) else tuple(size)
