"""How a figure becomes a file, or a part of a web page."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_linearity.errors import ConfigError
from pytest_linearity.files import brief, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pytest_linearity.report.plot.palette import Palette

SUFFIXES = (".png", ".svg", ".pdf")
"""What a plot can be written as."""


def require_matplotlib(asked_for: str) -> None:
    """Find out, without importing it, whether matplotlib is installed.

    Args:
        asked_for: What needs it, as the user has written it.

    Raises:
        ConfigError: If it is not installed.
    """
    if find_spec("matplotlib") is None:
        raise ConfigError(
            f"{asked_for}: plots need matplotlib, which is not installed: "
            "pip install 'pytest-linearity[plot]'"
        )


def require_plottable(path: Path) -> None:
    """Find out, before anything is measured, whether a plot can be written as this file.

    Raises:
        ConfigError: If matplotlib is missing, or the suffix is not one of `SUFFIXES`.
    """
    if path.suffix.lower() not in SUFFIXES:
        problem = f"not {path.suffix}" if path.suffix else "and this name has none"
        raise ConfigError(
            f"{brief(path)}: a plot's suffix is {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, "
            f"{problem}"
        )
    require_matplotlib(str(brief(path)))


@dataclass(frozen=True)
class Drawing:
    """A picture that is drawn when it is asked for, for a file or for a web page."""

    draw: Callable[[Palette], Figure]
    """Draws it in these neutral colours."""

    def save(self, path: Path) -> None:
        """Write it, whole or not at all.

        Args:
            path: The file; its suffix is one of `SUFFIXES`.

        Raises:
            ConfigError: If matplotlib is missing, or the suffix is another.
            LinearityError: If the file cannot be written.
        """
        require_plottable(path)
        from pytest_linearity.report.plot.palette import PRINT

        write_whole(path, _rendered(self, PRINT, path.suffix.lower().lstrip(".")))

    def svg(self, description: str, prefix: str) -> str:
        """An ``<svg>`` element for a page, whose style sheet gives it its neutral colours.

        Args:
            description: What the drawing shows, for those who cannot see it.
            prefix: Put before the ids in it, which must be unique within a page.

        Raises:
            ConfigError: If matplotlib is missing.
        """
        require_matplotlib("HTML report")
        from pytest_linearity.report.plot.inline import embeddable
        from pytest_linearity.report.plot.palette import PAGE

        return embeddable(_rendered(self, PAGE, "svg", editable=True), description, prefix)


def _rendered(drawing: Drawing, palette: Palette, kind: str, *, editable: bool = False) -> bytes:
    stream = io.BytesIO()
    # Neither date nor version: the same figures give the same file.
    nothing: dict[str, Any] = {
        "png": {"Software": None},
        "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
        "pdf": dict.fromkeys(("CreationDate", "Creator", "Producer")),
    }
    with _own_style(palette, editable):
        figure = drawing.draw(palette)
        figure.savefig(stream, format=kind, dpi=160, metadata=nothing[kind])
    return stream.getvalue()


@contextmanager
def _own_style(palette: Palette, editable: bool) -> Iterator[None]:
    """Our look, whatever style the user's own matplotlib is set to."""
    import matplotlib.style

    style = {
        **palette.style,
        "svg.fonttype": "none" if editable else "path",
        "svg.hashsalt": "pytest-linearity",  # ids that do not change from run to run
        "pdf.fonttype": 42,
    }
    with matplotlib.style.context(["default", style]), warnings.catch_warnings():
        # A letter that the font lacks is drawn as a box; no reason to fail a run that measured.
        warnings.simplefilter("ignore")
        yield
