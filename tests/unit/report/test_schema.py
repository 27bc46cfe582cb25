"""The published schema, and the reports that keep it."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pytest_linearity.config.config import KEYS
from pytest_linearity.verdict.document import SCHEMA_VERSION
from tests.support.schema import SCHEMA, faults


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


def test_a_real_report(real_document: dict[str, Any]) -> None:
    assert not faults(real_document)


def test_every_object_of_ours_is_closed() -> None:
    def visit(node: Any) -> None:
        if isinstance(node, dict):
            if "properties" in node and "required" in node:
                assert node["additionalProperties"] is False
            for value in node.values():
                visit(value)

    visit(SCHEMA)


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
    path: list[str], value: Any, real_document: dict[str, Any]
) -> None:
    broken = copy.deepcopy(real_document)
    part = broken
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    messages = faults(broken)
    assert messages
    assert all(re.search(re.escape(path[0]) + "|more", fault) for fault in messages)


@pytest.mark.parametrize("key", ["config", "metrics", "pairs", "environment", "schema_version"])
def test_misses_what_must_be_there(key: str, real_document: dict[str, Any]) -> None:
    assert faults({name: value for name, value in real_document.items() if name != key})
