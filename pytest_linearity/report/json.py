"""The report as a JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn

from pytest_linearity.errors import ConfigError, first_line, shown
from pytest_linearity.files import brief, write_whole
from pytest_linearity.verdict.document import SCHEMA_VERSION, Report


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


def load_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) that every report of this version keeps.

    It is the file ``schema.json`` beside this module, and can be given to any validator.

    Example:
        >>> sorted(load_schema()["properties"])[:3]
        ['checkpoint', 'config', 'environment']
    """
    text = files("pytest_linearity.report").joinpath("schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


_SHOWN: dict[str, dict[str, Any]] = {
    "config": {
        "min_linearity_radius": (int, float, NoneType, dict),
        "max_regression": (int, float, NoneType),
    },
    "checkpoint": {
        "path": str,
        "architecture": str,
        "parameters": int,
        "dtype": str,
        "dtypes": (dict, NoneType),
    },
}
"""Entries of the report's free parts that every table shows."""


def read_report(path: Path) -> Report:
    """Read a report of this version of the package or of an older one.

    Raises:
        ConfigError: If the file is missing, not JSON, not such a report, or of a newer version.
    """
    document = _parsed(path)
    version = document.get("schema_version") if isinstance(document, Mapping) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ConfigError(
            f"{brief(path)}: this is not a report of pytest-linearity: it has no schema_version"
        )
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"{brief(path)}: schema_version {version} is newer than {SCHEMA_VERSION}, the newest "
            "that this version of pytest-linearity reads: upgrade it, or write the report again"
        )
    try:
        report = Report.from_dict(document)
        _require_shown(report)
    except ValueError as error:
        raise ConfigError(
            f"{brief(path)}: this is not a report of pytest-linearity: {error}"
        ) from None
    return report


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise ConfigError(f"{brief(path)}: there is no such report") from None
    except IsADirectoryError:
        raise ConfigError(f"{brief(path)}: this is a directory, not a report") from None
    except OSError as error:
        raise ConfigError(f"{brief(path)}: cannot be read ({error.strerror})") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ConfigError(f"{brief(path)}: this is not JSON ({error.msg}: {where})") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{brief(path)}: this is not JSON ({first_line(error)})") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _require_shown(report: Report) -> None:
    for part, entries in _SHOWN.items():
        for key, kind in entries.items():
            value = getattr(report, part).get(key)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise ValueError(f"{part}.{key} is {shown(value)}")
    for dtype, count in (report.checkpoint.get("dtypes") or {}).items():
        if not isinstance(count, int) or isinstance(count, bool):
            raise ValueError(f"checkpoint.dtypes.{dtype} is {shown(count)}")
