"""How templates by name describe functions and write calls of them, against texts by hand."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from pytest_linearity.probes.calls import as_objects, calls_in
from pytest_linearity.probes.tool_formats import FORMATS, Call, bare, described, tells_date, wrapped

DAY = datetime.date(2024, 2, 3)
ADD: dict[str, Any] = {
    "name": "add",
    "description": "sums ü",
    "parameters": {
        "type": "object",
        "properties": {
            "x": {"type": "number", "description": "one"},
            "how": {"type": "string", "enum": ["a", "b"]},
            "all": {"type": "array", "items": {"type": "number"}},
        },
        "required": ["x"],
    },
}
WRAPPED = {"type": "function", "function": ADD}
CALLS = [Call("add", {"x": 1, "how": "ü"}), Call("sub", '{"x": 1}')]
ONE = '{"name": "add", "arguments": {"x": 1, "how": "ü"}}'
TWO = '{"name": "sub", "arguments": "{\\"x\\": 1}"}'


@pytest.mark.parametrize("tool", [ADD, WRAPPED])
def test_a_function_in_words(tool: dict[str, Any]) -> None:
    said = described("default", [tool, {"name": "sub"}], DAY)
    assert (
        "> Tool Name: add\nTool Description: sums ü\nTool Args:\n"
        "  - x (number, required): one\n"
        "  - how (string): , should be one of [a, b]\n"
        "  - all (array): , where each item should be number\n\n"
        "> Tool Name: sub\nTool Description: \nTool Args:\n\n"
    ) in said
    assert "(one of [add, sub])" in said
    assert said.endswith("}```)\n```\n")


@pytest.mark.parametrize("tool", [ADD, WRAPPED])
def test_functions_in_json(tool: dict[str, Any]) -> None:
    text = json.dumps(WRAPPED, ensure_ascii=False)
    indented = json.dumps(WRAPPED, ensure_ascii=False, indent=4)
    assert described("mistral", [tool], DAY) == f"[AVAILABLE_TOOLS] [{text}][/AVAILABLE_TOOLS]"
    assert described("qwen", [tool, tool], DAY).startswith("\n\n# Tools\n\nYou may call")
    assert f"<tools>\n{text}\n{text}\n</tools>" in described("qwen", [tool, tool], DAY)
    assert described("llama3", [tool], DAY).startswith(
        "Cutting Knowledge Date: December 2023\nToday Date: 03 Feb 2024\n\nYou have access"
    )
    assert described("llama3", [tool, tool], DAY).endswith(f"\n\n{indented}\n\n{indented}\n\n")


def test_no_functions_are_no_text_and_one_format_alone_tells_the_date() -> None:
    assert {described(name, [], DAY) for name in FORMATS} == {""}
    assert [name for name in FORMATS if tells_date(name)] == ["llama3"]


def test_braces_in_a_description_are_only_that() -> None:
    tool = {"name": "{date}", "description": "{names}"}
    assert json.dumps(tool) in described("qwen", [tool], DAY)


@pytest.mark.parametrize(
    ("name", "one", "two"),
    [
        ("default", 'Action: add\nAction Input: {"x": 1, "how": "ü"}',
         '\nAction: sub\nAction Input: "{\\"x\\": 1}"'),
        ("mistral", f"[{ONE}]", None),
        ("qwen", f"<tool_call>\n{ONE}\n</tool_call>", f"\n<tool_call>\n{TWO}\n</tool_call>"),
        ("llama3", ONE.replace("arguments", "parameters"), None),
    ],
)  # fmt: skip
def test_calls(name: str, one: str, two: str | None) -> None:
    assert FORMATS[name].called(CALLS[:1]) == one
    both = f"[{ONE}, {TWO}]".replace("arguments", "parameters" if name == "llama3" else "arguments")
    assert FORMATS[name].called(CALLS) == (both if two is None else one + two)


def test_wrapping_a_function() -> None:
    assert wrapped(ADD) == wrapped(WRAPPED) == WRAPPED
    assert bare(ADD) == bare(WRAPPED) == ADD


@pytest.mark.parametrize(
    ("content", "said", "calls"),
    [
        (ONE, "", CALLS[:1]),
        (f"[{ONE}, {TWO}]", "", CALLS),
        ('{"name": "f"}', "", [Call("f", {})]),
        (f"<think>\nhm\n</think>\n\n{ONE}", "<think>\nhm\n</think>\n\n", CALLS[:1]),
        (f"so <tool_call>{ONE}</tool_call>", "so ", CALLS[:1]),
        ("words", "", []),
        ('["words"]', "", []),
        ('{"x": 1}', "", []),
        ("[" * 9999, "", []),
    ],
)
def test_calls_in_a_turn(content: str, said: str, calls: list[Call]) -> None:
    assert calls_in(content) == (said, calls)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [({"x": 1}, {"x": 1}), ('{"x": 1}', {"x": 1}), ("no JSON", "no JSON"), ("", ""), (None, {})],
)
def test_arguments_as_objects(arguments: Any, expected: Any) -> None:
    assert as_objects(arguments) == expected
