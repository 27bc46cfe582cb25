"""How one line of several in a panel is told from the others."""

from __future__ import annotations

from typing import Any

_COLOURS = ("#2178b8", "#c58a00", "#8a63b8", "#1f9471", "#cf4f74", "#7a6a58")
_MARKERS = "os^Dvphd<>"
_LINES = ("-", "--", "-.", ":")


def stroke(number: int) -> dict[str, Any]:
    """Marker, line and colour: lines differ in three ways, so that colour alone need not tell.

    Args:
        number: The place of the line among the others, from 0.
    """
    return {
        "marker": _MARKERS[number % len(_MARKERS)],
        "linestyle": _LINES[number // len(_COLOURS) % len(_LINES)],
        "color": _COLOURS[number % len(_COLOURS)],
    }
