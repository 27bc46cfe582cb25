"""The calls of functions in a turn."""

from __future__ import annotations

import json
import re
from typing import Any

from pytest_linearity.probes.tool_formats import Call

_THOUGHT = re.compile(r"<think>\n.*?\n</think>\n\n", re.DOTALL)
_TAGGED = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


def calls_in(content: str) -> tuple[str, list[Call]]:
    """What a turn says before it calls functions, and the calls; none where it has not their JSON.

    The calls may follow a thought, or stand in a tag behind other words.
    """
    said, text = "", content
    if tagged := _TAGGED.search(content):
        said, text = content.replace(tagged[0], ""), tagged[1]
    elif thought := _THOUGHT.search(content):
        said, text = thought[0], content.replace(thought[0], "")
    return said, _parsed(text)


def _parsed(text: str) -> list[Call]:
    try:
        calls = json.loads(text)
    except (ValueError, RecursionError):
        return []
    listed = calls if isinstance(calls, list) else [calls]
    if not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in listed):
        return []
    return [Call(call["name"], call.get("arguments", {})) for call in listed]


def as_objects(arguments: Any) -> Any:
    """Arguments as chat templates take them: ``openai`` rows hold them as JSON text."""
    try:
        return json.loads(arguments) if isinstance(arguments, str) else arguments or {}
    except (ValueError, RecursionError):
        return arguments
