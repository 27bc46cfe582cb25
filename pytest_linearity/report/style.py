"""How a table is shown: the width, colours and letters of the place where people read it."""

from __future__ import annotations

from dataclasses import dataclass

_SPELLED_OUT = str.maketrans({"±": "+/-", "≤": "<=", "≥": ">="})


@dataclass(frozen=True)
class Style:
    """What a table needs to know of the place where it is shown.

    The default is 80 columns without colours, in UTF-8; where the encoding is another, letters and
    lines are ASCII: ``+/-`` for ``±``, ``<=`` for ``≤``.
    """

    width: int = 80
    """Columns of the terminal."""
    color: bool = False
    """Whether it shows colours."""
    encoding: str = "utf-8"
    """What its stream is encoded in; one that is not UTF gets ASCII."""

    @property
    def ascii_only(self) -> bool:
        """Whether letters and lines must be ASCII."""
        return not self.encoding.lower().startswith("utf")

    def spelled(self, text: str) -> str:
        """The text, with ±, ≤ and ≥ written out where they cannot be shown."""
        return text.translate(_SPELLED_OUT) if self.ascii_only else text


PLAIN = Style()
"""80 columns, no colours, UTF-8."""
