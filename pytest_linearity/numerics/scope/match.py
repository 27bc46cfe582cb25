"""Which parameters of a model a `param_scope` holds, each once, by canonical name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pytest_linearity.errors import ConfigError
from pytest_linearity.numerics.scope.kinds import KINDS, parameters_by_kind
from pytest_linearity.numerics.scope.names import compact
from pytest_linearity.numerics.scope.parse import Scope, Term
from pytest_linearity.numerics.scope.structure import Structure, structure_of

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class ScopeMatch:
    """What a scope, or a term of one, holds in a model."""

    text: str
    """The scope as the user wrote it."""
    names: tuple[str, ...]
    """Canonical names of the parameters, in the model's own order, a tied tensor once."""
    parameters: int
    """How many entries they have together."""
    parts: tuple[ScopeMatch, ...] = ()
    """What each term of a sum holds; a tensor may be in several. Empty for a single term."""

    @property
    def tensors(self) -> int:
        """How many parameter tensors."""
        return len(self.names)

    def describe(self) -> dict[str, Any]:
        """The JSON object of the report; names that differ in numbers alone are joined."""
        described: dict[str, Any] = {
            "param_scope": self.text,
            "tensors": self.tensors,
            "parameters": self.parameters,
            "names": compact(self.names),
        }
        if self.parts:
            described["parts"] = [part.describe() for part in self.parts]
        return described


def parameters_in_scope(model: nn.Module, scope: Scope) -> tuple[str, ...]:
    """The canonical names of the parameters a scope holds, in the model's own order.

    A canonical name is the one `named_parameters` gives: a tied tensor has its first name only.

    Raises:
        ConfigError: If a term of the scope holds nothing in this model, or asks for blocks that it
            does not have.
    """
    return match_scope(model, scope).names


def match_scope(model: nn.Module, scope: Scope) -> ScopeMatch:
    """Find the parameters a scope holds.

    Raises:
        ConfigError: If a term of the scope holds nothing in this model, or asks for blocks that it
            does not have.
    """
    matcher = _Matcher(model)
    parts = tuple(matcher.match(part, scope) for part in scope.parts)
    if len(parts) == 1:
        return parts[0]
    chosen = {name for part in parts for name in part.names}
    names = [name for name in matcher.tensors if name in chosen]
    return matcher.matched(scope.text, names, parts)


class _Matcher:
    """One model, whose structure is found when a scope first asks for it."""

    def __init__(self, model: nn.Module) -> None:
        """Read the names of the parameters."""
        self.model = model
        self.tensors: Mapping[str, Tensor] = dict(model.named_parameters())

    def match(self, part: Term, scope: Scope) -> ScopeMatch:
        """What one term of a scope holds; never nothing."""
        chosen = self._chosen(part)
        names = [name for name, tensor in self.tensors.items() if id(tensor) in chosen]
        if not names:
            within = "" if part.text == scope.text else f" in {scope.text!r}"
            raise ConfigError(
                f"param_scope: {part.text!r}{within} matches no parameter of "
                f"{type(self.model).__name__}; it has {self._available(part)}"
            )
        return self.matched(part.text, names)

    def matched(
        self, text: str, names: Sequence[str], parts: tuple[ScopeMatch, ...] = ()
    ) -> ScopeMatch:
        """The match that holds some of the model's parameters."""
        size = sum(self.tensors[name].numel() for name in names)
        return ScopeMatch(text, tuple(names), size, parts)

    @cached_property
    def _structure(self) -> Structure:
        return structure_of(self.model)

    @cached_property
    def _kinds(self) -> Mapping[str, set[int]]:
        return parameters_by_kind(self.model, self._structure)

    def _chosen(self, part: Term) -> set[int]:
        """The parameters of a term, by `id`."""
        if part.kind == "full":
            return set(map(id, self.tensors.values()))
        if part.kind == "regex":
            return self._named(part.pattern)
        if part.kind in KINDS:
            return self._kinds[part.kind]
        return self._of_blocks(
            self._structure.blocks[_block_range(part, len(self._structure.blocks))]
        )

    def _named(self, pattern: re.Pattern[str] | None) -> set[int]:
        """A tied tensor is found under each of its names."""
        named = self.model.named_parameters(remove_duplicate=False)
        return {id(tensor) for name, tensor in named if pattern and pattern.search(name)}

    def _of_blocks(self, blocks: Sequence[tuple[str, ...]]) -> set[int]:
        modules = (self.model.get_submodule(name) for block in blocks for name in block)
        return {id(tensor) for module in modules for tensor in module.parameters()}

    def _available(self, part: Term) -> str:
        """The scopes that hold something, for a message."""
        sizes = {"full": len(self.tensors)}
        if blocks := self._structure.blocks:
            sizes[f"blocks:0-{len(blocks) - 1}"] = len(self._of_blocks(blocks))
        sizes.update((kind, len(ids)) for kind, ids in self._kinds.items())
        available = [
            f"`{name}` ({size} tensor{'s' if size > 1 else ''})"
            for name, size in sizes.items()
            if size
        ]
        if part.kind == "regex" and available:
            available.append(f"names such as {list(self.tensors)[len(self.tensors) // 2]!r}")
        return ", ".join(available) or "no parameters at all"


def _block_range(part: Term, count: int) -> slice:
    """Which of a model's blocks a term asks for.

    Raises:
        ConfigError: If the model has fewer.
    """
    asked = f"param_scope: {part.text!r}"
    if not count:
        raise ConfigError(f"{asked} on a model without repeated blocks; use `full` or `regex:…`")
    if part.count > count:
        raise ConfigError(
            f"{asked} asks for {part.count} blocks, the model has {count}; accepted are "
            f"`{part.kind}:1` to `{part.kind}:{count}`"
        )
    if part.last >= count:
        raise ConfigError(
            f"{asked} asks for block {part.last}, the model has {count}, counted from 0; accepted "
            f"are numbers from 0 to {count - 1}"
        )
    if part.kind == "blocks":
        return slice(part.first, part.last + 1)
    return slice(part.count) if part.kind == "first_blocks" else slice(count - part.count, count)
