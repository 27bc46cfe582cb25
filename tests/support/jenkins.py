"""What Jenkins' xunit schema for JUnit (version 10) accepts, as far as pytest can write it."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

SECONDS = re.compile(r"[0-9]*(\.[0-9]*)?")

CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"testsuite", "properties", "testcase", "system-out", "system-err"},
    "testcase": {"skipped", "error", "failure", "system-out", "system-err"},
    "properties": {"property"},
}
"""Elements within an element; one that is not named here has none."""

REQUIRED = {
    "testsuite": {"name", "tests", "failures", "errors"},
    "testcase": {"name"},
    "property": {"name", "value"},
}
"""Attributes that an element must have."""

ATTRIBUTES = {
    "testsuites": {"name", "time", "tests", "failures", "errors"},
    "testsuite": REQUIRED["testsuite"] | {"time", "skipped", "timestamp", "hostname", "id"},
    "testcase": {"name", "time", "classname"},
    "property": {"name", "value"},
    "failure": {"type", "message"},
    "error": {"type", "message"},
    "skipped": {"type", "message"},
}
"""Attributes that an element may have; one that is not named here has none."""


def faults(path: Path) -> list[str]:
    """What such a schema would refuse in a file."""
    root = ElementTree.parse(path).getroot()
    if root.tag not in ("testsuites", "testsuite"):
        return [f"root is {root.tag}"]
    return [fault for element in root.iter() for fault in _faults(element)]


def _faults(element: ElementTree.Element) -> list[str]:
    tag, given = element.tag, set(element.keys())
    found = [f"{tag} in it: {child.tag}" for child in element if child.tag not in _children(tag)]
    found += [f"{tag} lacks {name}" for name in REQUIRED.get(tag, set()) - given]
    found += [f"{tag} has {name}" for name in given - ATTRIBUTES.get(tag, set())]
    if tag in ("testsuite", "testsuites") and not SECONDS.fullmatch(element.get("time", "")):
        found.append(f"{tag} takes {element.get('time')}")
    return found


def _children(tag: str) -> set[str]:
    return CHILDREN.get(tag, set())
