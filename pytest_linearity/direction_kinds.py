"""The kinds of directions that a config can ask for, by name; torch is not needed for that."""

from __future__ import annotations

RANDOM = ("gaussian", "rademacher", "layerwise", "filterwise")
"""Drawn with the seed, as many as `num_directions` says."""
FIXED = ("update", "gradient")
"""One direction each, given by the checkpoint; `file:` gives others."""
FILE = "file:"
"""What stands before the path of a direction in a file."""
SUFFIX = ".safetensors"
"""Of that file."""


def unreversed(kind: str) -> str:
    """The kind without the minus that asks for the opposite direction."""
    return kind.removeprefix("-")


def file_of(kind: str) -> str | None:
    """The path that a kind names; None where it names none."""
    name = unreversed(kind)
    return name.removeprefix(FILE) if name.startswith(FILE) else None


def accepted() -> str:
    """The kinds there are, for a message."""
    return ", ".join([*RANDOM, *FIXED, f"{FILE}PATH{SUFFIX}"])
