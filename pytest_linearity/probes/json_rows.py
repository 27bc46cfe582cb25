"""The rows of JSON files, each as it is written.

The ``datasets`` library puts rows into a table whose columns have one type: text that looks like
numbers may become numbers there, keys of one row appear as nulls in another, and rows that differ
in type are refused. A prompt is made of what the file says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pytest_linearity.errors import shown
from pytest_linearity.probes.conversations import Row

_SPACE = re.compile(r"[ \t\r\n]*")


def json_rows(files: Sequence[Path]) -> Iterator[Row]:
    """The objects in JSON files: one array of them, or one after the other (JSON Lines).

    Raises:
        ValueError: If a file is no JSON, or one of its rows is no object; the message names the
            line or the row.
    """
    for file in files:
        where = f"{file.name}: " if len(files) > 1 else ""
        try:
            yield from _objects(_text(file))
        except ValueError as error:
            raise ValueError(f"{where}{error}") from None


def _text(file: Path) -> str:
    import fsspec  # type: ignore[import-untyped]

    with fsspec.open(str(file), "rb", compression="infer") as stream:
        content: bytes = stream.read()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(f"line {line} is not UTF-8 text ({error.reason})") from None


def _objects(text: str) -> Iterator[Row]:
    for number, value in enumerate(_values(text)):
        if not isinstance(value, dict):
            raise ValueError(f"row {number}, {shown(value)}, is no object")
        yield value


def _values(text: str) -> Iterator[Any]:
    """The values of one array, or of a text with only space between them."""
    decoder = json.JSONDecoder(parse_constant=lambda name: None)  # NaN is no value, as for pandas
    at = _after_space(text, 0)
    inside = text[at : at + 1] == "["
    at = _after_space(text, at + inside)
    if inside and text[at : at + 1] == "]":
        _require_end(text, at + 1)
        return
    while at < len(text):
        value, at = _decoded(decoder, text, at)
        yield value
        at = _after_space(text, at)
        if not inside:
            continue
        if text[at : at + 1] == "]":
            _require_end(text, at + 1)
            return
        if text[at : at + 1] != ",":
            raise ValueError(f"{_place(text, at)}: a comma or ] is missing after a row")
        at = _after_space(text, at + 1)
    if inside:
        raise ValueError(f"{_place(text, at)}: the file ends within the array of its rows")


def _decoded(decoder: json.JSONDecoder, text: str, at: int) -> tuple[Any, int]:
    try:
        return decoder.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise ValueError(f"{_place(text, error.pos)}: {error.msg}") from None
    except RecursionError:
        raise ValueError(f"{_place(text, at)}: is nested too deeply") from None
    except ValueError as error:  # an integer of very many digits
        raise ValueError(f"{_place(text, at)}: {error}") from None


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _require_end(text: str, at: int) -> None:
    end = _after_space(text, at)
    if end < len(text):
        raise ValueError(f"{_place(text, end)}: more follows after the array of rows")


def _place(text: str, at: int) -> str:
    line = text.count("\n", 0, at) + 1
    return f"line {line}, column {at - text.rfind(chr(10), 0, at)}"
