"""How LLaMA-Factory's templates describe functions to a model, and write its calls of them."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

Tool = Mapping[str, Any]


@dataclass(frozen=True)
class Call:
    """One call of a function."""

    name: str
    """Of the function."""
    arguments: Any
    """As the row has them: a mapping, or its JSON text."""


@dataclass(frozen=True)
class ToolFormat:
    """How functions are described and called."""

    listed: Callable[[Sequence[Tool]], str]
    """The descriptions of functions, as they stand in the prompt about them."""
    called: Callable[[Sequence[Call]], str]
    """What the assistant says to call functions."""


def described(name: str, tools: Sequence[Tool], date: datetime.date) -> str:
    """What a system message says of functions.

    Args:
        name: Of the format.
        tools: Their descriptions; none gives no text.
        date: Which day it is.
    """
    if not tools:
        return ""
    parts = {
        "tools": FORMATS[name].listed(tools),
        "names": ", ".join(str(bare(tool).get("name", "")) for tool in tools),
        "date": date.strftime("%d %b %Y"),
    }
    return re.sub(r"\{(tools|names|date)\}", lambda match: parts[match[1]], _prompts()[name])


def tells_date(name: str) -> bool:
    """Whether what a format says of functions names the day."""
    return "{date}" in _prompts()[name]


def wrapped(tool: Tool) -> Tool:
    """A description as ``{"type": "function", "function": …}``."""
    if tool.get("type") == "function" or isinstance(tool.get("function"), Mapping):
        return tool
    return {"type": "function", "function": tool}


def bare(tool: Tool) -> Tool:
    """A description without what `wrapped` puts around it."""
    inner = tool.get("function") if tool.get("type") == "function" else tool
    return inner if isinstance(inner, Mapping) else tool


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, default=str)


def _in_words(tools: Sequence[Tool]) -> str:
    return "".join(map(_tool_in_words, map(bare, tools)))


def _tool_in_words(tool: Tool) -> str:
    parameters = _mapping(tool.get("parameters"))
    required = parameters.get("required") or []
    arguments = "".join(
        _argument_in_words(name, _mapping(argument), needed=name in required)
        for name, argument in _mapping(parameters.get("properties")).items()
    )
    return (
        f"> Tool Name: {tool.get('name', '')}\nTool Description: {tool.get('description', '')}\n"
        f"Tool Args:\n{arguments}\n"
    )


def _argument_in_words(name: str, argument: Mapping[str, Any], *, needed: bool) -> str:
    choices, entries = argument.get("enum"), _mapping(argument.get("items"))
    said = [f"  - {name} ({argument.get('type', '')}{', required' if needed else ''}): "]
    said.append(str(argument.get("description", "")))
    if choices:
        said.append(f", should be one of [{', '.join(map(str, choices))}]")
    if entries:
        said.append(f", where each item should be {entries.get('type', '')}")
    return "".join(said) + "\n"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _call_in_words(calls: Sequence[Call]) -> str:
    return "\n".join(f"Action: {c.name}\nAction Input: {_json(c.arguments)}" for c in calls)


def _llama3_calls(calls: Sequence[Call]) -> str:
    listed = [{"name": call.name, "parameters": call.arguments} for call in calls]
    return _json(listed[0] if len(listed) == 1 else listed)


def _named(call: Call) -> dict[str, Any]:
    return {"name": call.name, "arguments": call.arguments}


FORMATS: Mapping[str, ToolFormat] = {
    "default": ToolFormat(_in_words, _call_in_words),
    "llama3": ToolFormat(
        lambda tools: "".join(f"{_json(wrapped(tool), indent=4)}\n\n" for tool in tools),
        _llama3_calls,
    ),
    "mistral": ToolFormat(
        lambda tools: _json([wrapped(tool) for tool in tools]),
        lambda calls: _json([_named(call) for call in calls]),
    ),
    "qwen": ToolFormat(
        lambda tools: "".join(f"\n{_json(wrapped(tool))}" for tool in tools),
        lambda calls: "\n".join(
            f"<tool_call>\n{_json(_named(call))}\n</tool_call>" for call in calls
        ),
    ),
}
"""By name."""


@cache
def _prompts() -> dict[str, str]:
    """What is said of functions, by the name of the format."""
    import yaml

    listing = files("pytest_linearity") / "data" / "tool_prompts.yaml"
    prompts: dict[str, str] = yaml.safe_load(listing.read_text(encoding="utf-8"))
    return prompts
