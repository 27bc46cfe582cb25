"""Which modules normalise."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

_SAYS_NORM = re.compile(r"norm$|Norm(?![a-z])|NORM")
_ENDS_WITH_NORM = re.compile(r"(Layer|RMS)Norm$")


def is_norm(module: nn.Module) -> bool:
    """Whether a module normalises activations and has parameters for it.

    Hardly a model uses torch's own classes alone, so the name of the class tells. One that holds
    further modules counts only if it is a norm by its last words: containers are called after a
    norm in them, too.
    """
    name = type(module).__name__
    has_parameters = next(module.parameters(), None) is not None
    holds_modules = any(next(child.parameters(), None) is not None for child in module.children())
    says_norm = (_ENDS_WITH_NORM if holds_modules else _SAYS_NORM).search(name)
    return has_parameters and says_norm is not None
