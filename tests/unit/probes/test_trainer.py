"""Named templates and rows against LLaMA-Factory 0.9.5 itself, where that is installed.

Its templates encode a message in pieces; a tokenizer that takes each for one token shows them.
"""

from __future__ import annotations

import datetime
import itertools
import json
import random
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_linearity.probes.conversations import Conversation, Dropped, Layout, Turn, conversation
from pytest_linearity.probes.data_sets import _COLUMNS, _TAGS
from pytest_linearity.probes.named_templates import NamedTemplate, named_slots

template_module = pytest.importorskip("llamafactory.data.template")
DAY = datetime.date(2024, 2, 3)


class Pieces:
    """A tokenizer that takes each piece of text for one token."""

    bos_token, eos_token = "<bos>", "<eos>"
    bos_token_id, eos_token_id = "<bos>", "<eos>"

    def encode(self, text: str, add_special_tokens: bool = True) -> list[str]:
        assert not add_special_tokens
        return [text]


@pytest.fixture(autouse=True)
def day(monkeypatch: pytest.MonkeyPatch) -> None:
    """The day on which the trainer believes to run."""
    now = datetime.datetime.combine(DAY, datetime.time())
    clock = SimpleNamespace(now=lambda: now)
    monkeypatch.setattr("llamafactory.data.tool_utils.datetime", clock)


def theirs(
    name: str,
    messages: list[dict[str, str]],
    system: str | None,
    tools: str | None,
    *,
    thinking: bool = True,
    default_system: str | None = None,
) -> list[str]:
    """The pieces that the trainer's template writes before the last message."""
    import copy

    template = copy.copy(template_module.TEMPLATES[name])
    template.enable_thinking = thinking
    if default_system is not None:
        template.default_system = default_system
    pairs = template.encode_multiturn(Pieces(), messages, system, tools)
    pieces = [piece for pair in pairs[:-1] for part in pair for piece in part]
    return [*pieces, *pairs[-1][0]]


def ours(
    name: str,
    said: Conversation,
    *,
    thinking: bool = True,
    default_system: str | None = None,
) -> list[str]:
    """The pieces that our template of the name writes."""
    tokenizer: Any = Pieces()
    template = NamedTemplate.of(
        named_slots()[name],
        tokenizer,
        default_system=default_system,
        date=DAY,
        thinking=thinking,
    )
    return template.pieces(said)


ADD = {
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
CALL = {"name": "add", "arguments": {"x": 1, "how": "ü"}}
TOOLS = {
    "none": None,
    "an empty list": [],
    "one": [ADD],
    "two": [ADD, {"type": "function", "function": {**ADD, "name": "sub"}}],
}
EXCHANGES = {
    "words": [("user", "q1"), ("assistant", "a1")],
    "a call": [
        ("user", "q2"),
        ("function", json.dumps(CALL)),
        ("observation", '{"sum": 3}'),
        ("assistant", "a2"),
    ],
    "calls together": [
        ("user", "q3"),
        ("function", json.dumps([CALL, {"name": "sub", "arguments": '{"x": 1}'}])),
        ("observation", "r1\n</tool_response>\n<tool_response>\nr2"),
        ("assistant", "a3"),
    ],
    "a thought": [("user", "q4"), ("assistant", "<think>\nhm\n</think>\n\na4")],
    "a thought before a call": [
        ("user", "q5"),
        ("function", f"<think>\nhm\n</think>\n\n{json.dumps(CALL)}"),
        ("observation", "r"),
        ("assistant", ""),
    ],
    "a call in a tag": [
        ("user", ""),
        ("function", f"so: <tool_call>{json.dumps(CALL)}</tool_call>"),
        ("observation", ""),
        ("assistant", "a6"),
    ],
    "a result first": [("observation", "r"), ("assistant", "a7")],
}


@pytest.mark.parametrize("name", named_slots())
def test_every_template_writes_what_the_trainer_writes(name: str) -> None:
    compared = 0
    talks = [c for n in (1, 2, 3) for c in itertools.product(EXCHANGES.values(), repeat=n)]
    choices = random.Random(0)
    for talk in talks[:7] + choices.sample(talks[7:], 25):
        turns = [Turn(role, content) for exchange in talk for role, content in exchange]
        for system, tools, thinking, default in itertools.product(
            (None, "S"), TOOLS.values(), (True, False), (None, "", "D")
        ):
            head = [Turn("system", system or default or "")] if system or default else []
            said = Conversation((*head, *turns[:-1]), None if tools is None else tuple(tools))
            try:
                expected = theirs(
                    name,
                    [{"role": turn.role, "content": turn.content} for turn in turns],
                    system,
                    None if tools is None else json.dumps(tools),
                    thinking=thinking,
                    default_system=default,
                )
            except RuntimeError:  # some take calls for nothing but JSON; nothing is trained then
                continue
            pieces = ours(name, said, thinking=thinking, default_system=default)
            assert pieces == [piece for piece in expected if piece]
            compared += 1
    assert compared > 600


def test_we_know_which_names_there_are() -> None:
    from pytest_linearity.probes.templates import _trainer_names

    assert set(_trainer_names()) == set(template_module.TEMPLATES)
    assert set(named_slots()) <= set(_trainer_names())


COLUMNS = {
    "alpaca": {**_COLUMNS["alpaca"], "history": "history", "system": "system", "tools": "tools"},
    "sharegpt": {**_COLUMNS["sharegpt"], "system": "system", "tools": "tools"},
    "openai": {**_COLUMNS["openai"], "system": "system", "tools": "tools"},
}


def random_row(formatting: str, choices: random.Random) -> dict[str, Any]:
    """A row, often one that the trainer drops."""
    words = ["", "a", "b c", "é\n", None]
    row: dict[str, Any] = {
        "system": choices.choice(words),
        "tools": choices.choice([None, "", "[]", json.dumps([ADD]), "[{"]),
    }
    if formatting == "alpaca":
        pairs = [["q", "a"], ["", "b"], ["only one"]]
        history = [choices.choice(pairs[: choices.choice([2, 2, 2, 3])]) for _ in range(2)]
        return row | {
            "instruction": choices.choice(words),
            "input": choices.choice(words),
            "output": choices.choice([*words, 3, ["a"]]),
            "history": choices.choice([None, [], history, "yesterday"]),
        }
    tags = _TAGS[formatting]
    named = [tags[f"{role}_tag"] for role in ("user", "assistant", "observation", "function")]
    by_turns = [choices.choice([named[0], named[0], named[2]]), named[1]] * choices.randrange(4)
    roles = choices.choice([by_turns, [choices.choice(named) for _ in range(choices.randrange(5))]])
    if choices.random() < 0.3:
        roles = [tags["system_tag"], *roles]
    if choices.random() < 0.1:
        roles = [*roles, choices.choice(["bard", tags["system_tag"]])]
    messages = []
    for role in roles:
        content = json.dumps(CALL) if role == named[3] else choices.choice(words[:4] * 6 + [None])
        messages.append({tags["role_tag"]: role, tags["content_tag"]: content})
        if formatting == "openai" and role == named[1] and choices.random() < 0.4:
            calls = [{"id": "1", "type": "function", "function": CALL}] * choices.randrange(1, 3)
            messages[-1] |= {"content": None, "tool_calls": calls}
            messages += [
                {"role": "tool", "content": f"result {number}"}
                for number in range(choices.randrange(3))
            ]
    return row | {("messages" if formatting == "openai" else "conversations"): messages}


def converted(row: dict[str, Any], formatting: str, *, ranking: bool) -> dict[str, Any]:
    """A row as the trainer reads it."""
    from llamafactory.data.converter import DATASET_CONVERTERS
    from llamafactory.data.parser import DatasetAttr

    entry = {
        "formatting": formatting,
        "ranking": ranking,
        "columns": COLUMNS[formatting],
        "tags": _TAGS[formatting],
    }
    attributes = DatasetAttr("file", dataset_name="rows")
    attributes.join(entry)
    example: dict[str, Any] = DATASET_CONVERTERS[formatting](attributes, SimpleNamespace())(row)
    if formatting == "openai":
        # 0.9.5 writes a sentence of one model's into the system message of all such rows; that
        # is no part of the layout, and is not followed.
        first = row["messages"][:1]
        system = first[0]["content"] if first and first[0]["role"] == "system" else row["system"]
        example["_system"] = system
    return example


@pytest.mark.parametrize("formatting", ["alpaca", "sharegpt", "openai"])
def test_rows_are_used_and_dropped_as_the_trainer_does(formatting: str) -> None:
    choices = random.Random(1)
    outcomes = {"used": 0, "dropped": 0, "fails": 0}
    layout = Layout(formatting, COLUMNS[formatting], _TAGS[formatting])
    for name in choices.choices(list(named_slots()), k=1500):
        row = random_row(formatting, choices)
        try:
            example = converted(row, formatting, ranking=False)
            used = len(example["_prompt"]) % 2 == 1 and len(example["_response"]) == 1
            messages = example["_prompt"] + example["_response"]
            expected = (
                theirs(name, messages, example["_system"], example["_tools"]) if used else None
            )
        except Exception:
            outcomes["fails"] += 1  # nothing was trained on it
            continue
        try:
            pieces = ours(name, conversation(row, layout, None))
        except Dropped:
            pieces = None
        outcomes["dropped" if expected is None else "used"] += 1
        assert pieces == (expected and [piece for piece in expected if piece]), row
    assert min(outcomes.values()) > 100, outcomes
