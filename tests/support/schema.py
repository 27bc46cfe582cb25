"""The published schema, and what it finds in a report."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from pytest_linearity.report.json import load_schema

SCHEMA = load_schema()
_VALIDATOR = Draft202012Validator(SCHEMA, format_checker=FormatChecker())


def faults(document: Any) -> list[str]:
    """What in a report does not keep the schema."""
    return [f"{error.json_path}: {error.message}" for error in _VALIDATOR.iter_errors(document)]
