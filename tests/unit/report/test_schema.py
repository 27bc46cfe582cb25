"""The published schema, and the reports that keep it."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import Write
from jsonschema import Draft202012Validator, FormatChecker

from pytest_linearity.config import KEYS
from pytest_linearity.report.document import SCHEMA_VERSION
from pytest_linearity.report.schema import load_schema

SCHEMA = load_schema()
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=FormatChecker())


def faults(document: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(document)]


@pytest.fixture(scope="module")
def document(tiny_checkpoint: Path) -> dict[str, Any]:
    """The report of a real run."""
    from pytest_linearity.analysis import analyze
    from pytest_linearity.config import Config

    config = Config(
        model_name_or_path=str(tiny_checkpoint), prompts=["1+1="], num_directions=2, radii=[0.1]
    )
    return json.loads(json.dumps(analyze(config).to_dict()))


def test_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_has_the_version_that_reports_carry() -> None:
    assert SCHEMA["properties"]["schema_version"] == {
        "const": SCHEMA_VERSION,
        "description": SCHEMA["properties"]["schema_version"]["description"],
    }
    assert SCHEMA["$id"].endswith(f":{SCHEMA_VERSION}")


def test_knows_every_key_of_the_config() -> None:
    assert set(SCHEMA["properties"]["config"]["properties"]) == set(KEYS)


def test_a_real_report(document: dict[str, Any]) -> None:
    assert not faults(document)


def test_every_object_of_ours_is_closed() -> None:
    def visit(node: Any) -> None:
        if isinstance(node, dict):
            if "properties" in node and "required" in node:
                assert node["additionalProperties"] is False
            for value in node.values():
                visit(value)

    visit(SCHEMA)


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
    document: dict[str, Any],
    pytester: pytest.Pytester,
    write_config: Write,
    fixed: Any,
) -> None:
    fixed.figures = figures
    write_config(**keys)
    pytester.runpytest("--linearity-config", "gate.yaml")
    found = json.loads((pytester.path / "linearity_report.json").read_text())
    for part in ("probes", "scope", "environment"):
        found[part] = document[part]  # only a real run has these
    assert not faults(found)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["schema_version"], 2),
        (["passed"], "yes"),
        (["linearity_radius"], 0),
        (["metrics"], {}),
        (["metrics", "a"], {}),
        (["metrics", "0.1", "mean_relative_error"], -1),
        (["metrics", "0.1", "mean_relative_error"], "NaN"),
        (["metrics", "0.1", "reason"], "complies all the same"),
        (["metrics", "0.1", "more"], 1),
        (["config", "radius"], 1),
        (["config", "formatting"], "csv"),
        (["probes", "digest"], "abc"),
        (["environment", "measured"], 3),
        (["pairs", "0.1", "relative_error"], [1.0]),
        (["more"], 1),
    ],
)
def test_refuses_what_is_not_a_report(
    path: list[str], value: Any, document: dict[str, Any]
) -> None:
    broken = copy.deepcopy(document)
    part = broken
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    found = faults(broken)
    assert found
    assert all(re.search(re.escape(path[0]) + "|more", fault) for fault in found)


@pytest.mark.parametrize("key", ["config", "metrics", "pairs", "environment", "schema_version"])
def test_misses_what_must_be_there(key: str, document: dict[str, Any]) -> None:
    assert faults({name: value for name, value in document.items() if name != key})
