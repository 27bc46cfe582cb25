"""What all tables have in common: their lines, their letters, and how they become text."""

from __future__ import annotations

import io

from rich.box import Box
from rich.console import Console, RenderableType

ASCII_BOX = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


SPELLED_OUT = str.maketrans({"±": "+/-", "≤": "<=", "≥": ">="})


def draw(content: RenderableType, *, width: int = 80, color: bool = False) -> str:
    """Anything that rich can show, as text without padding at the end of its lines.

    Args:
        content: What to show.
        width: Columns of the terminal.
        color: Whether it shows colours.
    """
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=width,
        force_terminal=color,
        force_jupyter=False,  # a notebook would be shown the text, and the caller get none
        color_system="standard" if color else None,
        no_color=not color,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    console.print(content)
    # Padding at the end of a line is of no use, and a nuisance in logs and documents.
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    # Tables bring a blank line of their own on both sides: two of them are one too many.
    kept = [line for line, before in zip(lines, ["-", *lines], strict=False) if line or before]
    return "".join(f"{line}\n" for line in kept)
