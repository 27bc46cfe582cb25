"""`param_scope`: which parameters a direction moves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_linearity.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

ACCEPTED = "`full` or `last_blocks:k` with k at least 1"


@dataclass(frozen=True)
class Scope:
    """A parsed `param_scope`."""

    text: str
    """As the user wrote it."""
    last_blocks: int | None
    """How many of the last transformer blocks; ``None`` for all parameters."""


def parse_scope(text: str) -> Scope:
    """Read a `param_scope`.

    Raises:
        ConfigError: If the text is not a scope.
    """
    if text == "full":
        return Scope(text, None)
    match = re.fullmatch(r"last_blocks:(\d+)", text)
    if match and int(match[1]) > 0:
        return Scope(text, int(match[1]))
    raise ConfigError(f"param_scope: {text!r} is not a scope; accepted are {ACCEPTED}")


def parameters_in_scope(model: nn.Module, scope: Scope) -> tuple[str, ...]:
    """The canonical names of the parameters a scope holds, in the model's own order.

    A canonical name is the one `named_parameters` gives: a tied tensor has its first name only.

    Raises:
        ConfigError: If the model has fewer blocks than the scope asks for, or the scope is empty.
    """
    names = tuple(name for name, _ in model.named_parameters())
    if scope.last_blocks is not None:
        prefixes = tuple(f"{block}." for block in _last_blocks(model, scope))
        names = tuple(name for name in names if name.startswith(prefixes))
    if not names:
        raise ConfigError(f"param_scope: {scope.text!r} holds no parameter of this model")
    return names


def transformer_blocks(model: nn.Module) -> tuple[str, ...]:
    """The names of the model's repeated blocks, first to last; empty when it has none.

    They are found by structure, not by name: of the module lists that lie in no other module list
    the one that holds the most parameters. In a model of several towers only the text decoder
    counts, where the model tells which it is.
    """
    from torch import nn

    decoder = _text_decoder(model)

    best: tuple[str, ...] = ()
    most = 0
    outer: list[str] = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or name.startswith(tuple(outer)):
            continue
        outer.append(f"{name}.")
        if not f"{name}.".startswith(decoder):
            continue
        size = sum(parameter.numel() for parameter in module.parameters())
        if size > most:
            most = size
            best = tuple(f"{name}.{child}" for child, _ in module.named_children())
    return best


def _text_decoder(model: nn.Module) -> str:
    """What the names of the text decoder's modules begin with; empty where that is not told."""
    get_decoder = getattr(model, "get_decoder", None)
    decoder = get_decoder() if callable(get_decoder) else None
    names = (name for name, module in model.named_modules() if module is decoder and name)
    return next((f"{name}." for name in names), "")


def _last_blocks(model: nn.Module, scope: Scope) -> tuple[str, ...]:
    blocks = transformer_blocks(model)
    count = scope.last_blocks or 0
    if count > len(blocks):
        raise ConfigError(
            f"param_scope: {scope.text!r} asks for {count} blocks, the model has {len(blocks)}; "
            f"accepted are `full` and `last_blocks:1` to `last_blocks:{len(blocks)}`"
            if blocks
            else f"param_scope: {scope.text!r} on a model without repeated blocks; use `full`"
        )
    return blocks[-count:]
