"""A drawing made part of a web page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from pytest_linearity.report.plot.palette import VARIABLES

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "{http://www.w3.org/1999/xlink}href"


def embeddable(svg: bytes, description: str, prefix: str) -> str:
    """An SVG file as an element of a page.

    Args:
        svg: The file, as matplotlib has written it.
        description: What it shows, for those who cannot see it.
        prefix: Put before the ids in it, which must be unique within a page.
    """
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        _adapt(element, prefix)
    size = root.attrib.pop("width"), root.attrib.pop("height")
    root.set("style", f"max-width: {size[0]}")  # as wide as there is room for, up to its own size
    root.set("role", "img")
    root.set("aria-label", description)
    return ElementTree.tostring(root, encoding="unicode")


def _adapt(element: ElementTree.Element, prefix: str) -> None:
    # Within a page the elements of SVG have no namespace of their own.
    element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
    if _XLINK in element.attrib:
        element.set("href", element.attrib.pop(_XLINK))
    for name, value in element.items():
        if name == "id":
            element.set(name, f"{prefix}-{value}")
        elif name == "href":
            element.set(name, value.replace("#", f"#{prefix}-", 1))
        elif "url(#" in value:
            element.set(name, value.replace("url(#", f"url(#{prefix}-"))
        if name == "style":
            element.set(name, _themed(element.attrib["style"]))


def _themed(style: str) -> str:
    """Stand-ins replaced by the variables of the page, and fonts by the font of the page."""
    for colour, variable in VARIABLES.items():
        style = style.replace(colour, variable)
    return re.sub(r"'?DejaVu Sans'?[^;]*", "var(--font)", style)
