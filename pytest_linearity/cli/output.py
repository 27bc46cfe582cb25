"""Standard output as a terminal, a pipe or a file."""

from __future__ import annotations

import shutil
import sys
from typing import TypedDict


class Style(TypedDict):
    """What a table needs to know of the place where it is shown."""

    width: int
    """Columns of the terminal."""
    color: bool
    """Whether it shows colours."""
    encoding: str
    """What its stream is encoded in."""


def style() -> Style:
    """That of standard output, which may be redirected."""
    return Style(
        width=shutil.get_terminal_size().columns,
        color=sys.stdout.isatty(),
        encoding=sys.stdout.encoding or "utf-8",  # none where it is kept as text
    )
