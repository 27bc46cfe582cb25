"""How a table is shown: the width, colours and letters of the place where people read it."""

from __future__ import annotations

from typing import TypedDict


class Style(TypedDict):
    """What a table needs to know of the place where it is shown."""

    width: int
    """Columns of the terminal."""
    color: bool
    """Whether it shows colours."""
    encoding: str
    """What its stream is encoded in."""
