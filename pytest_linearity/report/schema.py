"""The published JSON Schema of the report."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def load_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) that every report of this version keeps.

    It is the file ``schema.json`` beside this module, and can be given to any validator.
    """
    text = files("pytest_linearity.report").joinpath("schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
