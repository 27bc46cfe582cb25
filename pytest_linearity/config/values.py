"""Values of a config: what each may be, and what a person reads when it is not that.

Every function here takes a raw value, as YAML or the environment gave it, and returns the value
that the config holds, or raises ``ValueError`` with a phrase that names what was found and what
would be right. Numbers may come as text (``"0.1"``, ``1e-5``, ``${oc.env:NAME}``).
"""

from __future__ import annotations

import datetime
import itertools
import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pytest_linearity.errors import shown
from pytest_linearity.numerics.directions.kinds import (
    FIXED,
    RANDOM,
    SUFFIX,
    accepted,
    file_of,
    unreversed,
)
from pytest_linearity.numerics.scope.parse import parse_scope

Parser = Callable[[Any], Any]

_DEVICE = re.compile(r"auto|cpu|(cuda|xpu|mps|npu|hpu)(:\d+)?")
_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}


def text(value: Any) -> str:
    """Text that is not blank."""
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not text (quote it if it is meant as text)")
    if not value.strip():
        raise ValueError("is empty")
    return readable(value)


def any_text(value: Any) -> str:
    """Text, also blank."""
    return readable(value) if value == "" else text(value)


def readable(value: str) -> str:
    """Text that can be encoded: a surrogate pair, as JSON escapes it, is one character.

    YAML takes each half of it for a character; a half alone is none.
    """
    try:
        return value.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise ValueError(f"{shown(value)} holds half of a surrogate pair") from None


def path(value: Any) -> str:
    """Text that may be a path: on one line, without control characters."""
    name = text(value)
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise ValueError(f"{shown(name)} holds a control character")
    return name


def checkpoints(value: Any) -> str | tuple[str, ...]:
    """A path, or a list of different ones."""
    if not isinstance(value, (list, tuple)):
        return path(value)
    if not value:
        raise ValueError("is an empty list: name at least one checkpoint")
    return _all_different(path(entry) for entry in value)


def _all_different(entries: Iterable[str]) -> tuple[str, ...]:
    kept = tuple(entries)
    for place, entry in enumerate(kept):
        if entry in kept[:place]:
            raise ValueError(f"{shown(entry)} is repeated")
    return kept


def file_name(value: Any) -> str:
    """The bare name of a file: nothing that leads out of its directory."""
    name = path(value)
    if re.search(r"[/\\:]", name) or name in {".", ".."}:
        raise ValueError(f"{shown(name)} is not a bare file name (output_dir says where it goes)")
    return name


def number(value: Any) -> float:
    """A finite number."""
    converted = math.nan
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            converted = float(value)
        except (ValueError, OverflowError):
            converted = math.nan
    if not math.isfinite(converted):
        raise ValueError(f"{shown(value)} is not a finite number")
    return converted


def positive(value: Any) -> float:
    """A finite number above zero."""
    converted = number(value)
    if converted <= 0:
        raise ValueError(f"{shown(value)} is not above zero")
    return converted


def within(low: float, high: float) -> Parser:
    """A finite number from ``low`` to ``high``, both included."""

    def parse(value: Any) -> float:
        converted = number(value)
        if not low <= converted <= high:
            limits = f"from {low:g} to {high:g}" if high < math.inf else f"at least {low:g}"
            raise ValueError(f"{shown(value)} is out of range: {limits}")
        return converted

    return parse


def between(low: float, high: float) -> Parser:
    """A finite number between ``low`` and ``high``, both excluded."""

    def parse(value: Any) -> float:
        converted = number(value)
        if not low < converted < high:
            raise ValueError(f"{shown(value)} is not between {low:g} and {high:g}, both excluded")
        return converted

    return parse


def integer(low: int, high: int | None = None) -> Parser:
    """A whole number of at least ``low`` and at most ``high``."""

    def parse(value: Any) -> int:
        whole = _whole(value)
        if whole is None:
            raise ValueError(f"{shown(value)} is not a whole number")
        if whole < low or (high is not None and whole > high):
            limits = f"at least {low}" if high is None else f"from {low} to {high}"
            raise ValueError(f"{shown(value)} is out of range: {limits}")
        return whole

    return parse


def _whole(value: Any) -> int | None:
    """The value as an integer; ``None`` when it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, int):
        return value
    try:
        return int(value) if isinstance(value, str) else _whole_float(value)
    except ValueError:
        try:
            return _whole_float(float(value))
        except ValueError:
            return None


def _whole_float(value: float) -> int | None:
    return int(value) if value.is_integer() else None


def boolean(value: Any) -> bool:
    """True or false."""
    if isinstance(value, bool):
        return value
    word = str(value).lower() if isinstance(value, (str, int)) else ""
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError(f"{shown(value)} is neither true nor false")


def one_of(*choices: str) -> Parser:
    """One of a few words."""

    def parse(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"{shown(value)} is not one of {', '.join(choices)}")
        return str(value)

    return parse


def device(value: Any) -> str:
    """The name of a torch device, or ``auto``."""
    name = text(value)
    if not _DEVICE.fullmatch(name):
        raise ValueError(f"{shown(name)} is not a device: auto, cpu, cuda, cuda:1, …")
    return name


def date(value: Any) -> str:
    """A day, as 2024-07-26; YAML reads that as a date."""
    if isinstance(value, datetime.datetime):
        raise ValueError(f"{value} is not a day: give it without a time, as 2024-07-26")
    try:
        return datetime.date.fromisoformat(str(value)).isoformat()
    except ValueError:
        raise ValueError(f"{shown(value)} is not a day, as 2024-07-26") from None


_TAKEN = {
    "add_generation_prompt",
    "chat_template",
    "continue_final_message",
    "conversation",
    "documents",
    "linearity_date",
    "max_length",
    "messages",
    "padding",
    "return_assistant_tokens_mask",
    "return_dict",
    "return_tensors",
    "sanitize_control_tokens",
    "strftime_now",
    "tokenize",
    "tokenizer_kwargs",
    "tools",
    "truncation",
}
"""What chat templates and their rendering are given by others."""


def template_variables(value: Any) -> dict[str, Any]:
    """A mapping from names to values that JSON can hold, for a chat template."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{shown(value)} is not a mapping, as {{enable_thinking: false}}")
    for name, entry in value.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"{shown(name)} is not a name that a template can read")
        if name in _TAKEN:
            raise ValueError(f"{name} is not for a config to say")
        try:
            readable(json.dumps(entry, allow_nan=False, ensure_ascii=False))
        except (TypeError, ValueError, RecursionError):
            raise ValueError(
                f"{name}: {shown(entry)} is not text, a number, true, false, or a list or mapping "
                "of such (quote a date)"
            ) from None
    return {name: json.loads(json.dumps(entry)) for name, entry in value.items()}


def radii(value: Any) -> tuple[float, ...]:
    """One or several different finite numbers above zero, in ascending order."""
    entries = _listed(value)
    if not entries:
        raise ValueError("holds no radius: at least one is needed, as [0.1, 0.3, 1.0]")
    numbers = sorted(positive(entry) for entry in entries)
    for smaller, larger in itertools.pairwise(numbers):
        if smaller == larger:
            raise ValueError(f"{larger!r} is repeated")
    return tuple(numbers)


AUTO = "auto"
"""In place of radii: chosen by measuring where the limits are crossed."""


def radii_or_auto(value: Any) -> tuple[float, ...] | str:
    """Radii, or the word ``auto``."""
    return AUTO if value == AUTO else radii(value)


def by_kind(parse: Parser) -> Parser:
    """A value, or a mapping from kinds of directions to such values."""

    def parse_each(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return parse(value)
        entries: dict[str, Any] = {}
        for kind, entry in value.items():
            try:
                entries[_direction(kind)] = parse(entry)
            except ValueError as error:
                raise ValueError(f"{kind}: {error}") from None
        return entries

    return parse_each


def optional(parse: Parser) -> Parser:
    """A value, or null."""
    return lambda value: None if value is None else parse(value)


def names(value: Any) -> tuple[str, ...]:
    """Names of data sets: a list, or text with commas between them."""
    found = tuple(path(entry).strip() for entry in _listed(value))
    if not found:
        raise ValueError("names no data set")
    return found


def metric_names(value: Any) -> tuple[str, ...]:
    """Different names of metrics: a list, or text with commas between them; maybe none."""
    entries = _listed(value)
    return _all_different(text(entry).strip() for entry in entries)


def metric_limits(value: Any) -> dict[str, Any]:
    """A mapping from names of metrics to limits, or to limits by kind; one set to null has none."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{shown(value)} is not a mapping of metrics to limits, as {{kl: 0.05}}")
    found: dict[str, Any] = {}
    parse = by_kind(optional(number))
    for key, limit in value.items():
        name = text(key)
        try:
            found[name] = parse(limit)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return found


def _listed(value: Any) -> list[Any]:
    """The entries of a list, which may also be written ``a,b`` or ``[a, b]`` or be one entry."""
    if isinstance(value, str):
        stripped = value.strip()
        if stripped.startswith("[") and stripped.endswith("]"):
            stripped = stripped[1:-1]
        return [entry.strip() for entry in stripped.split(",")] if stripped.strip() else []
    if isinstance(value, Iterable) and not isinstance(value, (Mapping, bytes)):
        return list(value)
    return [value]


def prompts(value: Any) -> tuple[str, ...]:
    """Prompts: a list of texts, or a single one. Blank ones are dropped, and counted, later."""
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, (list, tuple)):
        raise ValueError(f"{shown(value)} is not a list of prompts")
    if not entries:
        raise ValueError("is an empty list: give prompts, or leave it out for the built-in ones")
    for place, entry in enumerate(entries, start=1):
        if not isinstance(entry, str):
            raise ValueError(f"entry {place}, {shown(entry)}, is not text: quote it")
    return tuple(map(readable, entries))


def mapping_of_names(*known: str) -> Parser:
    """A mapping from some of the ``known`` keys to names; a key set to null is as if left out."""

    def parse(value: Any) -> dict[str, str]:
        if not isinstance(value, Mapping):
            raise ValueError(f"{shown(value)} is not a mapping of names")
        given: dict[str, str] = {}
        for key, name in value.items():
            if key not in known:
                raise ValueError(f"{shown(key)} is not one of {', '.join(known)}")
            if name is not None:
                if not isinstance(name, str):
                    raise ValueError(f"{key}: {shown(name)} is not text")
                given[key] = readable(name)
        return given

    return parse


def parse_scopes(value: Any) -> tuple[str, ...]:
    """A list of different scopes.

    Raises:
        ValueError: If it is not a list, is empty, or holds what is not a scope or one scope twice;
            with a phrase that names it.
    """
    if not isinstance(value, (list, tuple)):
        raise ValueError(
            f"{shown(value)} is not a list of scopes, as [full, attention] (for a single one there "
            "is param_scope)"
        )
    if not value:
        raise ValueError("is an empty list: name at least one scope, as [full, attention]")
    seen: dict[frozenset[str], str] = {}
    for entry in value:
        scope = parse_scope(text(entry))
        terms = frozenset(part.text for part in scope.parts)
        if terms in seen:
            also = "" if seen[terms] == scope.text else f", as {shown(seen[terms])} too"
            raise ValueError(f"{shown(scope.text)} is repeated{also}")
        seen[terms] = scope.text
    return tuple(seen.values())


_RANGE = {"min": 2, "max": 64}
"""What holds of a range that names one end alone; an interval takes two directions at least."""
_MOST = 1_000_000
"""More directions than anybody waits for; what counts them all would run out of memory first."""


def parse_count(value: Any) -> int | dict[str, int]:
    """How many random directions: a number, or a mapping of ``min`` and ``max``.

    Raises:
        ValueError: If it is neither, or a number is out of range.
    """
    if not isinstance(value, Mapping):
        return _count(value, 1)
    for key in value:
        if key not in _RANGE:
            raise ValueError(f"{shown(key)} is neither min nor max")
    ends = {**_RANGE, **{key: end for key, end in value.items() if end is not None}}
    found = {key: _end(key, end) for key, end in ends.items()}
    if found["min"] > found["max"]:
        default = "" if value.get("max") is not None else ", its default"
        raise ValueError(f"min {found['min']} is above max {found['max']}{default}")
    return found


def _end(key: str, value: Any) -> int:
    try:
        return _count(value, 2)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _count(value: Any, least: int) -> int:
    count = int(integer(least)(value))
    if count > _MOST:
        raise ValueError(f"{shown(value)} is out of range: at most {_MOST}")
    return count


def parse_directions(value: Any) -> tuple[str, ...]:
    """One kind, or a list of different ones.

    Raises:
        ValueError: If a kind is unknown or repeated, or there is none.
    """
    entries = list(value) if isinstance(value, (list, tuple)) else [value]
    if not entries:
        raise ValueError(f"is an empty list: name at least one of {accepted()}")
    return _all_different(_direction(entry) for entry in entries)


def _direction(value: Any) -> str:
    kind = path(value)
    name = unreversed(kind)
    if name in RANDOM and name != kind:
        raise ValueError(f"{shown(kind)}: the opposite of a random direction is just another one")
    file = file_of(kind)
    if file is None and name not in (*RANDOM, *FIXED):
        raise ValueError(f"{shown(kind)} is not one of {accepted()}")
    if file is not None and not file.strip().endswith(SUFFIX):
        raise ValueError(f"{shown(kind)} names no {SUFFIX} file")
    return kind
