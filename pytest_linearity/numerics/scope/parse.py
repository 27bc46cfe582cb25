"""The text of a `param_scope` -> what it asks for."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from difflib import get_close_matches

from pytest_linearity.errors import shown

WHOLE_WORDS = ("full", "embeddings", "head", "attention", "mlp", "norms", "biases")
"""The kinds of scope that take nothing after their name."""

ACCEPTED = (
    "`full`, `last_blocks:k` and `first_blocks:k` with k at least 1, `blocks:i-j` counted from 0, "
    "`embeddings`, `head`, `attention`, `mlp`, `norms`, `biases`, `regex:…`, and sums of them as "
    "`attention+norms`"
)

_COUNT = re.compile(r"(last_blocks|first_blocks):([0-9]{1,9})")
_RANGE = re.compile(r"blocks:([0-9]{1,9})(?:-([0-9]{1,9}))?")
_PLUS = re.compile(r" *\+ *")
_REGEX = "regex:"


@dataclass(frozen=True)
class Term:
    """One term of a scope."""

    text: str
    """As the user wrote it."""
    kind: str
    """What stands before the colon."""
    first: int = 0
    """First block, counted from 0, of `blocks:i-j`."""
    last: int = 0
    """Last block, inclusive, of `blocks:i-j`."""
    count: int = 0
    """How many blocks, of `last_blocks:k` and `first_blocks:k`."""
    pattern: re.Pattern[str] | None = None
    """The regular expression of `regex:…`."""


@dataclass(frozen=True)
class Scope:
    """A parsed `param_scope`: the union of its parts."""

    text: str
    """As the user wrote it."""
    parts: tuple[Term, ...]
    """The terms of the sum, at least one."""


def parse_scope(text: str) -> Scope:
    """Read a `param_scope`.

    Terms of a sum stand between plus signs; `regex:` takes all the rest of the text, so it comes
    last.

    Raises:
        ValueError: If the text is not a scope; with a phrase that names what is wrong.
    """
    terms, regex = _terms(text)
    parts = [_part(term, text) for term in terms]
    if regex is not None:
        parts.append(Term(_REGEX + regex, "regex", pattern=_compiled(regex, text)))
    return Scope(text, tuple(parts))


def _terms(text: str) -> tuple[list[str], str | None]:
    """The terms of a sum, and the regular expression at its end."""
    if text.startswith(_REGEX):
        return [], text[len(_REGEX) :]
    match = re.search(rf"\+ *{_REGEX}", text)
    if match is None:
        return _PLUS.split(text), None
    return _PLUS.split(text[: match.start()].rstrip(" ")), text[match.end() :]


def _part(term: str, text: str) -> Term:
    if term in WHOLE_WORDS:
        return Term(term, term)
    if (match := _COUNT.fullmatch(term)) and int(match[2]) > 0:
        return Term(term, match[1], count=int(match[2]))
    if match := _RANGE.fullmatch(term):
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise _error(text, f"{term!r} ends before it begins: write `blocks:{last}-{first}`")
        return Term(term, "blocks", first=first, last=last)
    if text and not term:
        raise _error(text, "a term is missing beside a `+`")
    close = get_close_matches(term, WHOLE_WORDS, n=1)
    hint = f" (did you mean `{close[0]}`?)" if close else ""
    message = f"{shown(term)} is not a scope{hint}; accepted are {ACCEPTED}"
    raise _error("" if term == text else text, message)


def _compiled(regex: str, text: str) -> re.Pattern[str]:
    if not regex:
        raise _error(text, "a regular expression is missing after `regex:`; `full` is everything")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of syntax that may change one day
            return re.compile(regex)
    except re.error as error:
        where = "" if error.pos is None else f" at character {error.pos + 1}"
        near = "" if error.pos is None else f", from {shown(regex[error.pos :])} on"
        raise _error(text, f"the regular expression is wrong{where}{near}: {error.msg}") from None
    except (OverflowError, RecursionError) as error:
        raise _error(text, f"the regular expression is wrong: {error}") from None


def _error(text: str, message: str) -> ValueError:
    where = f"{shown(text)}: " if text else ""
    return ValueError(f"{where}{message}")
