"""A row of a data set -> the conversation that its prompt is made of.

The layouts are those of LLaMA-Factory: ``alpaca``, ``sharegpt`` and ``openai``. What a row says
after the header of its last assistant turn is left out: it is the answer, not the prompt.
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
    """An optional system message, then turns of the user and the assistant."""
    tools: tuple[Any, ...] = ()
    """Descriptions of the functions that the assistant may call."""


@dataclass(frozen=True)
class Layout:
    """How rows are laid out."""

    formatting: str
    """``alpaca``, ``sharegpt`` or ``openai``."""
    columns: Mapping[str, str]
    """Column of ``prompt``, ``query``, ``history``, ``messages``, ``system``, ``tools``."""
    tags: Mapping[str, str]
    """``role_tag`` and ``content_tag`` of a message, and the name of each role."""
    ranking: bool = False
    """Whether the answers are in other columns, so that messages end with the user's turn."""


def conversation(row: Row, layout: Layout, default_system: str | None) -> Conversation:
    """The conversation of a row.

    Raises:
        Dropped: If the row gives no prompt.
    """
    if layout.formatting == "alpaca":
        system, turns = _alpaca(row, layout)
    else:
        system, turns = _messages(row, layout)
    if not turns or (turns[-1].role == "user" and not turns[-1].content.strip()):
        raise Dropped("with an empty prompt")
    system = system or _text(_cell(row, layout, "system")) or default_system or ""
    if system.strip():
        turns = [Turn("system", system), *turns]
    return Conversation(tuple(turns), _tools(_cell(row, layout, "tools")))


def _alpaca(row: Row, layout: Layout) -> tuple[str, list[Turn]]:
    parts = [_text(_cell(row, layout, name)) for name in ("prompt", "query")]
    question = "\n".join(part for part in parts if part)
    return "", [*_history(_cell(row, layout, "history")), Turn("user", question)]


def _history(value: Any) -> list[Turn]:
    """Earlier questions and answers, a list of pairs."""
    turns = []
    for pair in _sequence(value or [], "with a malformed history"):
        asked_answered = _sequence(pair, "with a malformed history")
        if len(asked_answered) != 2:
            raise Dropped("with a malformed history")
        turns.append(Turn("user", _text(asked_answered[0])))
        turns.append(Turn("assistant", _text(asked_answered[1])))
    return turns


def _messages(row: Row, layout: Layout) -> tuple[str, list[Turn]]:
    """System message and turns of a list of messages, without the last answer."""
    messages = _sequence(_cell(row, layout, "messages") or [], "with malformed messages")
    turns = [_turn(message, layout) for message in messages]
    if layout.formatting == "openai":
        turns = _joined_observations(turns)
    system = turns.pop(0).content if turns and turns[0].role == "system" else ""
    for place, turn in enumerate(turns):
        expected = ("assistant", "function") if place % 2 else ("user", "observation")
        if turn.role not in expected:
            raise Dropped("with wrong roles")
    if len(turns) % 2 != layout.ranking:
        parity = "even" if layout.ranking else "odd"
        raise Dropped(f"with an {parity} number of turns")
    return system, turns if layout.ranking else turns[:-1]


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


def _joined_observations(turns: list[Turn]) -> list[Turn]:
    """The turns, with observations that follow each other joined: they answer one turn."""
    joined: list[Turn] = []
    for turn in turns:
        if joined and turn.role == joined[-1].role == "observation":
            turn = Turn("observation", f"{joined.pop().content}\n{turn.content}")
        joined.append(turn)
    return joined


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


def _tools(value: Any) -> tuple[Any, ...]:
    """Tool descriptions: JSON text, or what it stands for."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except (ValueError, RecursionError):
            raise Dropped("with malformed tools") from None
    if not value:
        return ()
    if isinstance(value, Mapping):
        return (value,)
    tools = tuple(_sequence(value, "with malformed tools"))
    if not all(isinstance(tool, Mapping) for tool in tools):
        raise Dropped("with malformed tools")
    return tools
