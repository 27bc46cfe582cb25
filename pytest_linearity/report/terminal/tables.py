"""What all tables have in common: their lines, their headers, and how they become text."""

from __future__ import annotations

import io

from rich.box import SIMPLE_HEAD, Box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from pytest_linearity.report.style import Style

_ASCII_BOX = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


def table(style: Style, *, collapse_padding: bool = True) -> Table:
    """An empty table, with a line below its header and no others.

    Args:
        style: How it is shown.
        collapse_padding: Whether columns share the space between them.
    """
    return Table(
        box=_ASCII_BOX if style.ascii_only else SIMPLE_HEAD,
        header_style="bold",
        padding=(0, 1),
        collapse_padding=collapse_padding,
    )


def header(name: str, note: str) -> Text:
    """The header of a column in two lines, of which the second stands back."""
    return Text.assemble(name, "\n", (note, "not bold dim"))


def draw(content: RenderableType, style: Style) -> str:
    """Anything that rich can show, as text without padding at the end of its lines."""
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=style.width,
        force_terminal=style.color,
        force_jupyter=False,  # a notebook would be shown the text, and the caller get none
        color_system="standard" if style.color else None,
        no_color=not style.color,
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
