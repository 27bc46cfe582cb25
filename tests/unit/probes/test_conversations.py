"""Rows in every layout against token ids written out by hand.

In the character tokenizer ``<bos>`` is 1, ``<eos>`` 2, ``<|system|>`` 4, ``<|user|>`` 5,
``<|assistant|>`` 6, the line break 7, a digit 24 to 33, ``A`` 41, ``a`` 73.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_linearity.config.config import Config
from pytest_linearity.errors import ProbeError
from pytest_linearity.probes.load import load_probes
from pytest_linearity.probes.probe import Probes
from tests.support.checkpoints import character_tokenizer


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """Loads the probes of some rows, described by an entry of dataset_info.json."""

    def loaded(rows: list[Any], entry: dict[str, Any] | None = None, **keys: Any) -> Probes:
        (tmp_path / "rows.json").write_text(json.dumps(rows))
        info = {"rows": {"file_name": "rows.json", **(entry or {})}}
        (tmp_path / "dataset_info.json").write_text(json.dumps(info))
        config = Config(
            model_name_or_path="-", dataset=("rows",), dataset_dir=str(tmp_path), **keys
        )
        return load_probes(config, character_tokenizer())

    return loaded


@pytest.fixture
def ids(load: Any) -> Any:
    """As `load`, but only the token ids."""

    def of(*args: Any, **keys: Any) -> list[tuple[int, ...]]:
        return [probe.token_ids for probe in load(*args, **keys).probes]

    return of


def test_alpaca(ids: Any) -> None:
    rows = [
        {"instruction": "Ab", "input": "12", "output": "left out"},
        {"instruction": "Ab", "input": "", "output": "left out"},
        {"instruction": "", "input": "12", "output": "left out"},
    ]
    assert ids(rows) == [(1, 5, 41, 74, 7, 25, 26, 6), (1, 5, 41, 74, 6), (1, 5, 25, 26, 6)]


def test_alpaca_with_history_and_system(ids: Any) -> None:
    entry = {
        "formatting": "alpaca",
        "columns": {
            "prompt": "instruction",
            "query": "input",
            "response": "output",
            "system": "system",
            "history": "history",
        },
    }
    rows = [
        {
            "instruction": "C",
            "input": None,
            "output": "",
            "system": "S",
            "history": [["A", "a"], ["B", "b"]],
        },
        {"instruction": "C", "input": "c", "output": "", "system": None, "history": []},
    ]
    assert ids(rows, entry) == [
        (1, 4, 59, 5, 41, 6, 73, 2, 5, 42, 6, 74, 2, 5, 43, 6),
        (1, 5, 43, 7, 75, 6),
    ]


def test_alpaca_with_columns_of_other_names(ids: Any) -> None:
    rows = [{"q": "A", "instruction": "B", "input": "C"}]
    assert ids(rows, {"columns": {"prompt": "q"}}) == [(1, 5, 41, 6)]


def test_a_column_left_out_means_none_and_not_its_default(ids: Any) -> None:
    rows = [{"instruction": "A", "input": "B", "output": ""}]
    assert ids(rows, {"columns": {"prompt": "instruction"}}) == [(1, 5, 41, 6)]
    assert ids(rows, {"columns": {"prompt": "instruction", "query": None}}) == [(1, 5, 41, 6)]
    assert ids(rows) == [(1, 5, 41, 7, 42, 6)]


def test_numbers_are_taken_as_text(ids: Any) -> None:
    assert ids([{"instruction": 12, "input": 3}]) == [(1, 5, 25, 26, 7, 27, 6)]


def test_alpaca_rows_are_dropped_where_the_trainer_drops_them(load: Any) -> None:
    def row(instruction: Any, output: Any = "o", history: Any = ()) -> dict[str, Any]:
        return {"instruction": instruction, "input": "", "output": output, "history": history}

    rows = [row("A"), row(""), row(None), row("B", None), row("B", ""), row("B", history=[["q"]])]
    columns = {"prompt": "instruction", "query": "input", "response": "output"}
    probes = load(rows, {"columns": {**columns, "history": "history"}})
    assert [(probe.row, probe.text) for probe in probes.probes] == [
        (0, "<bos><|user|>A<|assistant|>"),
        (1, "<bos><|user|><|assistant|>"),
        (2, "<bos><|user|><|assistant|>"),
        (4, "<bos><|user|>B<|assistant|>"),
    ]
    assert probes.dropped == {"without an answer": 1, "with a malformed history": 1}
    assert probes.summary() == (
        "4 prompts of rows, 2 rows dropped (1 without an answer, 1 with a malformed history)"
    )


def test_an_answer_that_is_no_text_is_none(load: Any) -> None:
    with pytest.raises(ProbeError, match="2 without an answer"):
        load([{"instruction": "A", "output": number} for number in (3, 4)])


def test_rows_of_which_no_column_holds_an_answer_are_used(ids: Any) -> None:
    assert ids([{"instruction": "A", "input": ""}]) == [(1, 5, 41, 6)]
    rows = [{"instruction": "A", "output": None}, {"instruction": "A", "output": "o"}]
    assert ids(rows, {"columns": {"prompt": "instruction"}}) == [(1, 5, 41, 6)] * 2


def test_an_empty_cell_of_a_csv_file_is_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('instruction,input,output\nA,,o\nB,,\n,b,None\nC,,""\n')
    config = Config(model_name_or_path="-", dataset=(str(path),))
    probes = load_probes(config, character_tokenizer())
    assert [(probe.row, probe.token_ids) for probe in probes.probes] == [
        (0, (1, 5, 41, 6)),
        (2, (1, 5, 74, 6)),
    ]
    assert probes.dropped == {"without an answer": 2}


def test_a_history_that_is_no_list_is_none(ids: Any) -> None:
    columns = {"prompt": "instruction", "history": "past"}
    rows = [{"instruction": "A", "past": "yesterday"}]
    assert ids(rows, {"columns": columns}) == [(1, 5, 41, 6)]


def test_a_system_message_of_one_space_is_one(ids: Any) -> None:
    columns = {"prompt": "instruction", "system": "system"}
    assert ids([{"instruction": "A", "system": " "}], {"columns": columns}) == [
        (1, 4, 8, 5, 41, 6),
    ]


def sharegpt(*turns: tuple[str, str]) -> dict[str, Any]:
    return {"conversations": [{"from": role, "value": text} for role, text in turns]}


def test_sharegpt(ids: Any) -> None:
    rows = [
        sharegpt(("human", "A"), ("gpt", "left out")),
        sharegpt(("system", "S"), ("human", "A"), ("gpt", "a"), ("human", "B"), ("gpt", "")),
    ]
    assert ids(rows, {"formatting": "sharegpt"}) == [
        (1, 5, 41, 6),
        (1, 4, 59, 5, 41, 6, 73, 2, 5, 42, 6),
    ]


def test_sharegpt_with_functions_and_tools(load: Any) -> None:
    rows = [
        {
            **sharegpt(
                ("human", "A"), ("function_call", "f"), ("observation", "o"), ("gpt", "left out")
            ),
            "system": "S",
            "tools": '[{"name": "t"}]',
        }
    ]
    columns = {"messages": "conversations", "system": "system", "tools": "tools"}
    probes = load(rows, {"formatting": "sharegpt", "columns": columns})
    assert probes.probes[0].text == (
        '<bos><|system|>S\n\n[{"name": "t"}]<|user|>A<|assistant|>f<eos><|user|>o<|assistant|>'
    )


def test_sharegpt_with_a_system_column(ids: Any) -> None:
    rows = [{**sharegpt(("human", "A"), ("gpt", "")), "sys": "S"}]
    entry = {"formatting": "sharegpt", "columns": {"messages": "conversations", "system": "sys"}}
    assert ids(rows, entry) == [(1, 4, 59, 5, 41, 6)]


def test_sharegpt_rows_with_wrong_roles_or_an_odd_number_of_turns_are_counted(load: Any) -> None:
    rows = [
        sharegpt(("human", "A"), ("gpt", "a")),
        sharegpt(("gpt", "a"), ("human", "A")),
        sharegpt(("human", "A"), ("human", "B")),
        sharegpt(("human", "A"), ("system", "S")),
        sharegpt(("human", "A"), ("bard", "a")),
        sharegpt(("human", "A"), ("gpt", "a"), ("human", "B")),
        sharegpt(("human", "A")),
        sharegpt(("system", "S")),
        sharegpt(("human", " "), ("gpt", "a")),
        {"conversations": []},
        {"conversations": None},
        {"conversations": [{"from": "human", "value": "A"}, {"from": "gpt", "value": None}]},
    ]
    probes = load(rows, {"formatting": "sharegpt"})
    assert [probe.token_ids for probe in probes.probes] == [(1, 5, 41, 6), (1, 5, 8, 6)]
    assert probes.describe()["dropped"] == {
        "with wrong roles": 4,
        "with an odd number of turns": 2,
        "without messages": 3,
        "without an answer": 1,
    }
    assert probes.summary() == (
        "2 prompts of rows, 10 rows dropped (4 with wrong roles, 2 with an odd number of turns, "
        "3 without messages, 1 without an answer)"
    )


def test_a_system_turn_comes_before_the_column_even_where_it_is_empty(ids: Any) -> None:
    row = {**sharegpt(("system", ""), ("human", "A"), ("gpt", "")), "system": "S"}
    entry = {"formatting": "sharegpt", "columns": {"messages": "conversations", "system": "system"}}
    assert ids([row], entry) == [(1, 5, 41, 6)]


TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "bot"}


def test_tags_of_other_names(ids: Any) -> None:
    rows = [{"talk": [{"role": "user", "content": "A"}, {"role": "bot", "content": "a"}]}]
    entry = {"formatting": "sharegpt", "columns": {"messages": "talk"}, "tags": TAGS}
    assert ids(rows, entry) == [(1, 5, 41, 6)]


def test_a_tag_left_out_means_none_and_not_its_default(load: Any) -> None:
    talk = [{"role": "user", "content": "A"}, {"role": "bot", "content": "a"}]
    rows = [
        {"talk": talk},
        {"talk": [{"role": "system", "content": "S"}, *talk]},
        {"talk": [*talk, {"role": "observation", "content": "o"}, talk[1]]},
    ]
    entry = {"formatting": "sharegpt", "columns": {"messages": "talk"}, "tags": TAGS}
    probes = load(rows, entry)
    assert [probe.row for probe in probes.probes] == [0]
    assert probes.dropped == {"with wrong roles": 2}


def test_openai(load: Any) -> None:
    rows = [
        {
            "messages": [
                {"role": "system", "content": "S"},
                {"role": "user", "content": "A"},
                {"role": "assistant", "content": "left out"},
            ]
        },
        {"messages": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "A"}]},
    ]
    probes = load(rows, {"formatting": "openai"})
    assert [probe.token_ids for probe in probes.probes] == [(1, 4, 59, 5, 41, 6)]
    assert probes.dropped == {"with wrong roles": 1}


def test_openai_contents_in_parts(load: Any) -> None:
    parts = [{"type": "text", "text": "A"}, {"type": "text", "text": "b"}]
    rows = [
        {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": []}]}
    ]
    assert load(rows, {"formatting": "openai"}).probes[0].token_ids == (1, 5, 41, 74, 6)


def test_openai_with_tool_calls(load: Any) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    messages = [
        {"role": "user", "content": "A"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "o"},
        {"role": "tool", "content": "p"},
        {"role": "assistant", "content": "left out"},
    ]
    probes = load([{"messages": messages}], {"formatting": "openai"})
    begin, end = "<bos><|user|>A<|assistant|>", "<eos><|user|>o\np<|assistant|>"
    text = probes.probes[0].text
    assert (text[: len(begin)], text[-len(end) :]) == (begin, end)
    assert json.loads(text[len(begin) : -len(end)]) == [call["function"]]


def test_results_that_no_turn_answers_are_left_out(load: Any) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "A"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "o"},
    ]
    probes = load([{"messages": messages}], {"formatting": "openai"})
    assert probes.probes[0].text == "<bos><|user|>A<|assistant|>"


def test_ranked_answers_lie_in_other_columns(ids: Any) -> None:
    rows = [{**sharegpt(("human", "A")), "chosen": {}, "rejected": {}}]
    entry = {"formatting": "sharegpt", "ranking": True, "columns": {"messages": "conversations"}}
    assert ids(rows, entry) == [(1, 5, 41, 6)]
    with pytest.raises(ProbeError, match="1 with an even number of turns"):
        ids([sharegpt(("human", "A"), ("gpt", "a"))], entry)


@pytest.mark.parametrize("formatting", ["alpaca", "sharegpt"])
def test_a_ranked_row_with_one_answer_alone_is_dropped(load: Any, formatting: str) -> None:
    answer: Any = "a" if formatting == "alpaca" else {"from": "gpt", "value": "a"}
    rows = [
        {**sharegpt(("human", "A")), "instruction": "A", "chosen": answer, "rejected": other}
        for other in (answer, None)
    ]
    columns = {"chosen": "chosen", "rejected": "rejected"}
    columns |= {"alpaca": {"prompt": "instruction"}, "sharegpt": {"messages": "conversations"}}[
        formatting
    ]
    probes = load(rows, {"formatting": formatting, "ranking": True, "columns": columns})
    assert [probe.row for probe in probes.probes] == [0]
    assert probes.dropped == {"without an answer": 1}


@pytest.mark.parametrize(
    ("entry", "row", "reason"),
    [
        ({"formatting": "sharegpt"}, {"conversations": "no list"}, "with malformed messages"),
        ({"formatting": "sharegpt"}, {"conversations": ["no turn"]}, "with malformed messages"),
        ({"formatting": "sharegpt"}, {"conversations": [{"from": 3}]}, "with wrong roles"),
        ({}, {"instruction": {"no": "text"}}, "with other contents than text"),
        (
            {"columns": {"prompt": "instruction", "tools": "tools"}},
            {"instruction": "A", "tools": "[{"},
            "with malformed tools",
        ),
        (
            {"columns": {"prompt": "instruction", "tools": "tools"}},
            {"instruction": "A", "tools": "[1]"},
            "with malformed tools",
        ),
    ],
)
def test_malformed_rows_are_dropped_with_the_reason(
    load: Any, entry: dict[str, Any], row: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ProbeError, match=f"no prompt is left to measure: of the rows, 1 {reason}"):
        load([row], entry)
