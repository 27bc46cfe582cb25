"""Reports at the edges keep the published schema."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.fixtures import Write
from tests.support.schema import faults


@pytest.mark.parametrize(
    ("keys", "figures"),
    [
        ({}, {0.1: (0.02, 0.999), 0.3: (0.06, 0.99), 1.0: (0.31, 0.96)}),
        ({}, {0.1: (None, 0.9), 0.3: (float("inf"), None), 1.0: (None, None)}),
        ({"radii": [1e-06, 1e22]}, {1e-06: (0.0, 1.0), 1e22: (5.0, -1.0)}),
        ({"min_linearity_radius": 0.1}, {0.1: (0.02, 0.999), 0.3: (9.0, 0.0), 1.0: (9.0, 0.0)}),
    ],
)
def test_reports_at_the_edges(
    keys: dict[str, Any],
    figures: dict[float, Any],
    real_document: dict[str, Any],
    pytester: pytest.Pytester,
    write_config: Write,
    fixed: Any,
) -> None:
    fixed.figures = figures
    write_config(**keys)
    pytester.runpytest("--linearity-config", "gate.yaml")
    document = json.loads((pytester.path / "linearity_report.json").read_text())
    for part in ("probes", "scope", "environment"):
        document[part] = real_document[part]  # only a real run has these
    assert not faults(document)
