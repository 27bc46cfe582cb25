"""The colours of all pictures, told apart by people who see fewer of them as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GOOD = "#2178b8"
"""What complies: a blue that is readable on white and on near black."""
BAD = "#d1502c"
"""What does not: told from the blue in every kind of colour blindness."""
REFINED = "#c58a00"
"""What bisection has found: an amber that is lighter than both to all eyes."""
RAMP = ("#2178b8", "#8a63b8", "#cf4f74", "#cc7a1a")
"""From the smallest radius to the largest, all of like lightness."""


@dataclass(frozen=True)
class Palette:
    """The neutral colours, which depend on what a picture is put on."""

    ink: str
    """Text."""
    muted: str
    """Axes and what explains."""
    grid: str
    """Lines behind the data."""
    paper: str
    """The ground, where something must stand out from what it covers."""
    transparent: bool = False
    """Whether the ground is left to the page."""

    @property
    def style(self) -> Mapping[str, Any]:
        """These colours as settings of matplotlib."""
        ground = "none" if self.transparent else self.paper
        return {
            "font.family": "sans-serif",
            "font.size": 9.5,
            "text.color": self.ink,
            "axes.labelcolor": self.ink,
            "axes.edgecolor": self.muted,
            "axes.facecolor": "none",
            "axes.grid": True,
            "axes.grid.axis": "y",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 10.5,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.titlepad": 16,
            "grid.color": self.grid,
            "grid.linewidth": 0.8,
            "xtick.color": self.muted,
            "ytick.color": self.muted,
            "xtick.labelcolor": self.ink,
            "ytick.labelcolor": self.ink,
            "figure.facecolor": ground,
            "savefig.facecolor": ground,
            "legend.frameon": False,
            "hatch.linewidth": 0.7,
            "lines.linewidth": 1.8,
            "lines.markersize": 6.5,
            "path.simplify": False,
        }


PRINT = Palette(ink="#1f2328", muted="#646c75", grid="#e3e6ea", paper="#ffffff")
"""For files."""

PAGE = Palette(ink="#010101", muted="#020202", grid="#030303", paper="#040404", transparent=True)
"""For web pages: stand-ins, each replaced by a variable of the style sheet."""

VARIABLES = {
    PAGE.ink: "var(--ink)",
    PAGE.muted: "var(--muted)",
    PAGE.grid: "var(--line)",
    PAGE.paper: "var(--paper)",
}
"""What the stand-ins are replaced by."""
