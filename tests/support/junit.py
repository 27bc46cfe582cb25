"""A JUnit file, read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from junitparser import JUnitXml, Properties, Property, TestCase

FIGURES = {
    "gate.yaml::radius[0.3]::radius": "0.3",
    "gate.yaml::radius[0.3]::mean_relative_error": "0.06",
    "gate.yaml::radius[1.0]::complies": "false",
    "gate.yaml::radius[1.0]::reason": "mean relative error 0.31 > 0.20",
    "gate.yaml::linearity_radius::linearity_radius": "0.3",
    "gate.yaml::linearity_radius::passed": "false",
}
"""Some properties of the suite, where the figures are those of `fixed` or `fakes`."""


def properties(case: TestCase) -> Iterator[Property]:
    """The properties of a test case, which junitparser has no accessor for."""
    for found in case.iterchildren(Properties):
        yield from found


def suite_of(directory: Path) -> Any:
    """The only suite of `junit.xml`."""
    [suite] = JUnitXml.fromfile(str(directory / "junit.xml"))
    return suite


def of_suite(directory: Path) -> dict[str, str]:
    """The properties of the suite."""
    return {entry.name: entry.value for entry in suite_of(directory).properties()}


def of_cases(directory: Path) -> dict[str, dict[str, str]]:
    """The properties of each test case."""
    return {
        case.name: {entry.name: entry.value for entry in properties(case)}
        for case in suite_of(directory)
    }
