"""A row of a data set -> the conversation that its prompt is made of.

The layouts are those of LLaMA-Factory: ``alpaca``, ``sharegpt`` and ``openai``; a row is dropped
where that trainer drops it. What a row says after the header of its last assistant turn is left
out: it is the answer, not the prompt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]


class Dropped(Exception):
    """A row that gives no prompt; the message says why, and is what such rows are counted by."""


@dataclass(frozen=True)
class Turn:
    """One message."""

    role: str
    """``system``, ``user``, ``assistant``, ``observation`` or ``function``."""
    content: str
    """Its text; of a function call, its JSON."""


@dataclass(frozen=True)
class Conversation:
    """What a prompt is made of; the next to speak is the assistant."""

    turns: tuple[Turn, ...]
    """An optional system message, then turns of the user and the assistant. Observations that
    follow each other answer the calls of one turn."""
    tools: tuple[Any, ...] | None = None
    """Descriptions of the functions that the assistant may call; ``None`` where a row has none,
    rather than an empty list of them."""


@dataclass(frozen=True)
class Layout:
    """How rows are laid out."""

    formatting: str
    """``alpaca``, ``sharegpt`` or ``openai``."""
    columns: Mapping[str, str]
    """Column of ``prompt``, ``query``, ``response``, ``history``, ``messages``, ``system``,
    ``tools``, ``chosen``, ``rejected``."""
    tags: Mapping[str, str]
    """``role_tag`` and ``content_tag`` of a message, and the name of each role."""
    ranking: bool = False
    """Whether the answers are in other columns, so that messages end with the user's turn."""


def conversation(row: Row, layout: Layout, default_system: str | None) -> Conversation:
    """The conversation of a row.

    Raises:
        Dropped: If the row gives no prompt.
    """
    alpaca = layout.formatting == "alpaca"
    system, turns = _alpaca(row, layout) if alpaca else _messages(row, layout)
    if layout.ranking:
        _require_ranked(row, layout)
    system = _text(_cell(row, layout, "system")) if system is None else system
    system = system or default_system or ""
    if system:
        turns = [Turn("system", system), *turns]
    return Conversation(tuple(turns), _tools(_cell(row, layout, "tools")))


def _alpaca(row: Row, layout: Layout) -> tuple[None, list[Turn]]:
    """No system message, as that has a column of its own, and the turns."""
    if not layout.ranking:
        _require(row, layout, ("response",), str)
    parts = [_text(_cell(row, layout, name)) for name in ("prompt", "query")]
    question = "\n".join(part for part in parts if part)
    return None, [*_history(_cell(row, layout, "history")), Turn("user", question)]


_UNANSWERED = "without an answer"


def _require_ranked(row: Row, layout: Layout) -> None:
    """Drop a row that has only one of the two answers, or none, where it should have both."""
    kind = str if layout.formatting == "alpaca" else Mapping
    _require(row, layout, ("chosen", "rejected"), kind)


def _require(row: Row, layout: Layout, names: Sequence[str], kind: type) -> None:
    """Drop a row whose answers, where there are columns for them, are not what they should be."""
    for column in filter(None, map(layout.columns.get, names)):
        if column in row and not isinstance(row[column], kind):
            raise Dropped(_UNANSWERED)


def _history(value: Any) -> list[Turn]:
    """Earlier questions and answers, a list of pairs; what is no list is none."""
    turns = []
    for pair in value if isinstance(value, list) else []:
        asked_answered = _sequence(pair, "with a malformed history")
        if len(asked_answered) != 2:
            raise Dropped("with a malformed history")
        turns.append(Turn("user", _text(asked_answered[0])))
        turns.append(Turn("assistant", _text(asked_answered[1])))
    return turns


def _messages(row: Row, layout: Layout) -> tuple[str | None, list[Turn]]:
    """System message and turns of a list of messages, without the last answer."""
    messages = list(_sequence(_cell(row, layout, "messages") or [], "with malformed messages"))
    turns: list[tuple[Turn, ...]] = [(_turn(message, layout),) for message in messages]
    system = turns.pop(0)[0].content if turns and turns[0][0].role == "system" else None
    if layout.formatting == "openai":
        turns = _joined_observations(turns)
    if not turns:
        raise Dropped("without messages")
    for place, (turn, *_) in enumerate(turns):
        expected = ("assistant", "function") if place % 2 else ("user", "observation")
        if turn.role not in expected:
            raise Dropped("with wrong roles")
    if len(turns) % 2 != layout.ranking:
        parity = "even" if layout.ranking else "odd"
        raise Dropped(f"with an {parity} number of turns")
    if not layout.ranking:
        answer = turns.pop()[0]
        if answer.role == "assistant" and _has_no_text(messages[-1], layout):
            raise Dropped(_UNANSWERED)
    return system, [turn for joined in turns for turn in joined]


def _has_no_text(message: Mapping[str, Any], layout: Layout) -> bool:
    return message.get(layout.tags["content_tag"]) is None


def _turn(message: Any, layout: Layout) -> Turn:
    tags = layout.tags
    if not isinstance(message, Mapping):
        raise Dropped("with malformed messages")
    named = message.get(tags["role_tag"])
    roles = {tags.get(f"{role}_tag"): role for role in reversed(_ROLES)}
    if not isinstance(named, str) or named not in roles:
        raise Dropped("with wrong roles")
    calls = message.get("tool_calls") if layout.formatting == "openai" else None
    if calls and roles[named] in ("assistant", "function"):
        return Turn("function", _calls(calls))
    return Turn(roles[named], _text(message.get(tags["content_tag"])))


_ROLES = ("user", "assistant", "observation", "function", "system")


def _calls(calls: Any) -> str:
    """The JSON of the functions that an ``openai`` message calls."""
    functions = []
    for call in _sequence(calls, "with malformed tool calls"):
        if not isinstance(call, Mapping) or not isinstance(call.get("function"), Mapping):
            raise Dropped("with malformed tool calls")
        functions.append(call["function"])
    return json.dumps(functions, ensure_ascii=False, default=str)


def _joined_observations(turns: Sequence[tuple[Turn, ...]]) -> list[tuple[Turn, ...]]:
    """The turns, those observations together that answer one; the last ones answer none."""
    joined: list[tuple[Turn, ...]] = []
    for turn in turns:
        if joined and turn[0].role == joined[-1][0].role == "observation":
            turn = (*joined.pop(), *turn)
        joined.append(turn)
    return joined[:-1] if joined and joined[-1][0].role == "observation" else joined


def _cell(row: Row, layout: Layout, name: str) -> Any:
    column = layout.columns.get(name)
    return row.get(column) if column is not None else None


def _text(value: Any) -> str:
    """The text of a cell: numbers as they are written, parts of ``openai`` contents joined."""
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(part, Mapping) for part in value):
        if any(not isinstance(part.get("text"), str) for part in value):
            raise Dropped("with other contents than text")
        return "".join(part["text"] for part in value)
    if not isinstance(value, (str, int, float)):
        raise Dropped("with other contents than text")
    return str(value).encode("utf-8", "replace").decode()  # tokenizers take no lone surrogates


def _sequence(value: Any, otherwise: str) -> Sequence[Any]:
    if isinstance(value, (list, tuple)):
        return value
    raise Dropped(otherwise)


def _tools(value: Any) -> tuple[Any, ...] | None:
    """Tool descriptions: JSON text, or what it stands for."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value else None
        except (ValueError, RecursionError):
            raise Dropped("with malformed tools") from None
    if value is None:
        return None
    if isinstance(value, Mapping):
        return (value,)
    tools = tuple(_sequence(value, "with malformed tools"))
    if not all(isinstance(tool, Mapping) for tool in tools):
        raise Dropped("with malformed tools")
    return tools
