"""The report as a JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_linearity.files import write_whole
from pytest_linearity.report.document import Report


def write_json(report: Report, path: Path) -> None:
    """Write a report as JSON, whole or not at all.

    Raises:
        LinearityError: If the file cannot be written.
    """
    write_whole(path, json_text(report.to_dict()) + "\n")


def json_text(value: Any, margin: str = "\n") -> str:
    """JSON as a person would lay it out.

    As `json.dumps` with an indent of two, but a list of numbers stands on one line, and so does
    each entry of a list that is itself flat: there can be thousands of pairs and of prompts.

    Args:
        value: What to write; keys must be text.
        margin: The line break before whatever closes the value.

    Raises:
        ValueError: If it holds NaN or Infinity, which are not JSON.
    """
    inner = f"{margin}  "
    if isinstance(value, Mapping) and value:
        entries = [f"{_line(key)}: {json_text(entry, inner)}" for key, entry in value.items()]
        return f"{{{inner}{f',{inner}'.join(entries)}{margin}}}"
    if isinstance(value, (list, tuple)) and not all(_is_number(entry) for entry in value):
        entries = [_line(entry) if _is_flat(entry) else json_text(entry, inner) for entry in value]
        return f"[{inner}{f',{inner}'.join(entries)}{margin}]"
    return _line(value)


def _line(value: Any) -> str:
    # NaN and Infinity are not JSON: better an error here than a file that no other reader takes.
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, (int, float))


def _is_flat(value: Any) -> bool:
    if isinstance(value, Mapping):
        value = list(value.values())
    return not isinstance(value, (list, tuple)) or not any(
        isinstance(entry, (Mapping, list, tuple)) for entry in value
    )
