"""Names that training tools put around a model's own, as `_orig_mod.` and `module.`."""

from __future__ import annotations

import re
from collections.abc import Collection

_WITHIN = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Of torch.compile, FSDP and activation checkpointing: anywhere in a name."""
_BEFORE = ("module", "_forward_module", "base_model.model", "language_model")
"""Of DDP, Lightning, peft, and a language model cut out of a larger one: before every name."""
_NESTED = "model.language_model."
"""Where models of text and images keep their language model."""


def without_wrappers(names: Collection[str]) -> dict[str, str]:
    """Patterns of what does not belong to a model's own names, and what to put in its place.

    Args:
        names: Those of all tensors.

    Returns:
        Regular expressions with their replacements, to be applied in this order to every name;
        none where the names hold nothing of the kind.
    """
    patterns: dict[str, str] = {}
    for wrapper in _WITHIN:
        pattern = rf"(?<![^.]){wrapper}\."
        most = max((len(re.findall(pattern, name)) for name in names), default=0)
        # transformers applies a pattern once to a name, and knows each pattern once.
        patterns.update({pattern + "(?:)" * repeat: "" for repeat in range(most)})
        names = renamed(names, {pattern: ""})
    while names:
        before = next((b for b in _BEFORE if all(n.startswith(f"{b}.") for n in names)), None)
        if before is None:
            break
        pattern = f"^{re.escape(before)}\\."
        if pattern in patterns:
            break  # once is enough: twice would be a module of the model's own
        patterns[pattern] = ""
        names = renamed(names, {pattern: ""})
    if any(name.startswith(_NESTED) for name in names):
        patterns[f"^{re.escape(_NESTED)}"] = "model."
    return patterns


def renamed(names: Collection[str], patterns: dict[str, str]) -> list[str]:
    """Names with the patterns of `without_wrappers` taken off."""
    return [rename(name, patterns) for name in names]


def rename(name: str, patterns: dict[str, str]) -> str:
    """A name with the patterns of `without_wrappers` taken off."""
    for pattern, replacement in patterns.items():
        name = re.sub(pattern, replacement, name)
    return name
