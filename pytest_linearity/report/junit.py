"""The figures as properties of JUnit test cases."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pytest_linearity.report.document import RadiusFigures, Report

Properties = list[tuple[str, object]]
"""Name and value of each property; pytest writes them into the test case."""


def radius_properties(figures: RadiusFigures) -> Properties:
    """The figures of one radius; one that is not defined is left out."""
    return _properties([("radius", figures.radius), *figures.to_dict().items()])


def verdict_properties(report: Report) -> Properties:
    """The linearity radius and the verdict on the checkpoint; no radius is ``null``."""
    return [
        ("linearity_radius", json.dumps(report.linearity_radius)),
        ("passed", json.dumps(report.passed)),
    ]


def _properties(values: Iterable[tuple[str, Any]]) -> Properties:
    """Numbers and booleans as JSON spells them, so that one parser reads report and XML."""
    return [
        (name, value if isinstance(value, str) else json.dumps(value))
        for name, value in values
        if value is not None
    ]
