"""Data files as people have them, whole and damaged: the right prompts, or one line about where.

Each case is made from its number. What a row gives is said by a reference of this file's own,
which knows nothing of how rows are read. ``LINEARITY_FUZZ_CASES`` sets how many there are.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_linearity.config.config import Config
from pytest_linearity.errors import ProbeError
from pytest_linearity.probes.load import load_probes
from tests.support.checkpoints import character_tokenizer

CASES = int(os.environ.get("LINEARITY_FUZZ_CASES", "60"))
TOKENIZER = character_tokenizer()
Row = dict[str, Any]

WORDS = [
    "", " ", "a", "What is 2 + 2?", "é ü", "\U0001f600", "line\nbreak", '"quoted", \\n', "<eos>",
    "{{ x }}", "null", "None", "NA", "3", "0012", "1e5", "x" * 300, "\tt\t", "a\u2028b", "-", "[]",
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One file of rows."""

    form: str
    """How rows are laid out."""
    name: str
    """Of the file; what comes after the dot says its kind."""
    rows: list[Any]
    """The rows as they were meant."""
    content: bytes
    """The file."""
    damaged: bool
    """Whether bytes of the file were changed, so that nobody knows its rows."""


# What rows are


def alpaca(choices: random.Random) -> Row:
    pairs = [[choices.choice(WORDS), choices.choice(WORDS)] for _ in range(choices.randrange(3))]
    return {
        "instruction": choices.choice(WORDS),
        "input": choices.choice(WORDS),
        "output": choices.choice(WORDS),
        "system": choices.choice(WORDS),
        "history": pairs,
    }


def sharegpt(choices: random.Random) -> Row:
    turns = []
    for _ in range(choices.randrange(1, 4)):
        asks = choices.choice(["human", "human", "observation"])
        answers = choices.choice(["gpt", "gpt", "function_call"])
        turns += [{"from": asks, "value": choices.choice(WORDS)}]
        turns += [{"from": answers, "value": choices.choice(WORDS)}]
    if choices.random() < 0.3:
        turns.insert(0, {"from": "system", "value": choices.choice(WORDS)})
    return {"conversations": turns, "system": choices.choice(WORDS)}


def openai(choices: random.Random) -> Row:
    turns: list[Row] = []
    if choices.random() < 0.3:
        turns += [{"role": "system", "content": choices.choice(WORDS)}]
    for _ in range(choices.randrange(1, 3)):
        turns += [{"role": "user", "content": choices.choice(WORDS)}]
        if choices.random() < 0.4:
            call = {"name": "f", "arguments": choices.choice(['{"x": 1}', "", "no JSON"])}
            calls = [{"id": "c", "type": "function", "function": call}] * choices.randrange(1, 3)
            turns += [{"role": "assistant", "content": None, "tool_calls": calls}]
            turns += [{"role": "tool", "content": choices.choice(WORDS)} for _ in calls]
        turns += [{"role": "assistant", "content": choices.choice(WORDS)}]
    return {"messages": turns, "system": choices.choice(WORDS)}


def plain_text(choices: random.Random) -> Row:
    return {"text": choices.choice([word for word in WORDS if word.isprintable() and word.strip()])}


FORMS: dict[str, Callable[[random.Random], Row]] = {
    "alpaca": alpaca,
    "sharegpt": sharegpt,
    "openai": openai,
    "text": plain_text,
}
COLUMNS = {
    "alpaca": {"prompt": "instruction", "query": "input", "response": "output",
               "system": "system", "history": "history"},
    "sharegpt": {"messages": "conversations", "system": "system"},
    "openai": {"messages": "messages", "system": "system"},
    "text": {"prompt": "text"},
}  # fmt: skip


def damage_row(row: Row, choices: random.Random) -> None:
    """One thing that is wrong, or only odd, with a row."""
    key = choices.choice(list(row))
    messages = row.get("conversations") or row.get("messages")
    what = choices.randrange(8)
    if what == 0:
        row[key] = None
    elif what == 1:
        del row[key]
    elif what == 2:
        row[key] = choices.choice([7, 2.5, True, [], {}, ["a"], {"a": "b"}, [["a"]]])
    elif what == 3:
        row["more"] = choices.choice([None, 1, "a"])
    elif what == 4 and isinstance(messages, list):
        messages.pop(choices.randrange(len(messages)))
    elif what == 5 and isinstance(messages, list):
        turn = choices.choice(messages)
        turn[choices.choice(list(turn))] = choices.choice([None, "bard", "", "user", "gpt"])
    elif what == 6 and isinstance(messages, list):
        messages.append(choices.choice(messages))
    elif what == 7 and isinstance(row.get("history"), list):
        row["history"].append(["one", "two", "three"])


# What files are


def as_json(rows: list[Any], choices: random.Random) -> bytes:
    text = json.dumps(rows, ensure_ascii=choices.random() < 0.5, indent=choices.choice([None, 2]))
    return text.encode()


def as_jsonl(rows: list[Any], choices: random.Random) -> bytes:
    ascii_only = choices.random() < 0.5
    end = choices.choice(["\n", "\r\n", "\n\n"])
    return "".join(json.dumps(row, ensure_ascii=ascii_only) + end for row in rows).encode()


def as_csv(rows: list[Any], choices: random.Random) -> bytes:
    table = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(table, columns, lineterminator=choices.choice(["\n", "\r\n"]))
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue().encode()


def as_parquet(rows: list[Any], choices: random.Random) -> bytes:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    file = io.BytesIO()
    columns = dict.fromkeys(key for row in rows for key in row)
    whole = [{column: row.get(column) for column in columns} for row in rows]
    pq.write_table(pa.Table.from_pylist(whole), file)
    return file.getvalue()


def as_text(rows: list[Any], choices: random.Random) -> bytes:
    return "".join(f"{row['text']}\n" for row in rows).encode()


KINDS = {
    "json": as_json,
    "jsonl": as_jsonl,
    "csv": as_csv,
    "parquet": as_parquet,
    "txt": as_text,
}


def damage_file(content: bytes, choices: random.Random) -> bytes:
    """Bytes that are no longer what was written."""
    at = choices.randrange(len(content) + 1)
    return choices.choice(
        [
            content[:at],
            content[at:],
            content[:at] + choices.randbytes(3) + content[at:],
            content[:at] + b"\0" + content[at:],
            b"",
            b"\xff\xfe" + content.decode("utf-8", "replace").encode("utf-16-le"),
            b"\xef\xbb\xbf" + content,
            b"[" * 2000,
            b"null",
            b"NaN",
            b"{}",
            b'{"data": ' + content + b"}",
            b"\x1f\x8b" + content,
            content[:at] + content[: choices.randrange(9)] + content[at:],
        ]
    )


def make(number: int) -> Case:
    """A case by its number."""
    choices = random.Random(number)
    form = choices.choice(list(FORMS))
    kinds = {"alpaca": ["json", "jsonl", "csv", "parquet"], "text": ["txt"]}
    kind = choices.choice(kinds.get(form, ["json", "jsonl", "parquet"]))
    rows = [FORMS[form](choices) for _ in range(choices.randrange(1, 6))]
    if kind == "csv":
        for row in rows:
            del row["history"]
    if form != "text" and kind != "csv" and choices.random() < 0.7:
        for _ in range(choices.randrange(1, 3)):
            damage_row(choices.choice(rows), choices)
    try:
        content = KINDS[kind](rows, choices)
    except Exception:  # Arrow writes no table whose rows have different types
        kind, content = "jsonl", as_jsonl(rows, choices)
    damaged = choices.random() < 0.3
    if damaged:
        content = damage_file(content, choices)
    return Case(form, f"rows{number}.{kind}", rows, content, damaged)


# What a row gives


class Unfit(Exception):
    """The row gives no prompt."""


def words_of(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (str, bool, int, float)):
        return str(value)
    if value == []:
        return ""
    raise Unfit


def expected(case: Case, row: Row) -> str | None:
    """The prompt that a row gives; None where it gives none."""
    try:
        if case.form in ("alpaca", "text"):
            return prompt_of_question(case, row)
        return prompt_of_messages(case, row)
    except Unfit:
        return None


def written(system: str, turns: list[tuple[str, str]]) -> str:
    spoken = [("system", system)] * bool(system) + turns
    said = [f"<|{role}|>{text}{'<eos>' * (role == 'assistant')}" for role, text in spoken]
    return "<bos>" + "".join(said) + "<|assistant|>"


def prompt_of_question(case: Case, row: Row) -> str:
    present = {key for each in case.rows for key in each}
    answer = row.get("output")
    if case.name.endswith("csv"):
        row = {key: value if value != "" else None for key, value in row.items()}
        answer = row.get("output")
    if case.form == "alpaca" and "output" in present and not isinstance(answer, str):
        raise Unfit
    turns = []
    for pair in row.get("history") or [] if isinstance(row.get("history"), list) else []:
        if not isinstance(pair, list) or len(pair) != 2:
            raise Unfit
        turns += [("user", words_of(pair[0])), ("assistant", words_of(pair[1]))]
    asked = [words_of(row.get(key)) for key in ("instruction", "input", "text")]
    question = "\n".join(part for part in asked if part)
    return written(words_of(row.get("system")), [*turns, ("user", question)])


ROLES = {
    "sharegpt": {"human": "user", "gpt": "assistant", "observation": "tool",
                 "function_call": "call", "system": "system"},
    "openai": {"user": "user", "assistant": "assistant", "tool": "tool",
               "function_call": "call", "system": "system"},
}  # fmt: skip


def prompt_of_messages(case: Case, row: Row) -> str:
    turns = said_in(case, row)
    opened = turns and turns[0][0] == "system"
    system = words_of(turns.pop(0)[1] if opened else row.get("system"))
    if case.form == "openai":
        while turns and turns[-1][0] == "tool":
            turns.pop()
    require_order(case, [role for role, _ in turns])
    if turns.pop()[1] is None:
        raise Unfit
    return written(system, in_roles(turns))


def said_in(case: Case, row: Row) -> list[tuple[str, Any]]:
    """Role and text of each message."""
    keys = ("from", "value") if case.form == "sharegpt" else ("role", "content")
    messages = row.get("conversations" if case.form == "sharegpt" else "messages")
    if not isinstance(messages, list):
        raise Unfit
    turns = []
    for message in messages:
        named = message.get(keys[0]) if isinstance(message, dict) else None
        if not isinstance(named, str) or named not in ROLES[case.form]:
            raise Unfit
        role, text = ROLES[case.form][named], message.get(keys[1])
        calls = message.get("tool_calls") if case.form == "openai" else None
        if calls and role in ("assistant", "call"):
            functions = [call["function"] for call in calls]
            role, text = "call", json.dumps(functions, ensure_ascii=False)
        words_of(text)
        turns.append((role, text))
    return turns


def require_order(case: Case, roles: list[str]) -> None:
    """Whether those who ask and those who answer speak by turns, and the last is an answer."""
    if case.form == "openai":
        before = ["", *roles]
        roles = [r for r, b in zip(roles, before, strict=False) if not r == b == "tool"]
    if not roles or len(roles) % 2:
        raise Unfit
    for at, role in enumerate(roles):
        if role not in (("user", "tool"), ("assistant", "call"))[at % 2]:
            raise Unfit


def in_roles(turns: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    """The turns as the template writes them, which knows no calls: then all is told in words."""
    in_words = any(role == "call" for role, _ in turns)
    plain = {"call": "assistant", "tool": "user" if in_words else "tool"}
    said: list[tuple[str, str]] = []
    before = ""
    for role, text in turns:
        if in_words and role == before == "tool":
            said[-1] = ("user", f"{said[-1][1]}\n{words_of(text)}")
        else:
            said.append((plain.get(role, role), words_of(text)))
        before = role
    return said


def first_difference(theirs: Any, ours: Any) -> Any:
    return [(a, b) for a, b in zip(theirs, ours, strict=False) if a != b][:1]


@pytest.mark.parametrize("batch", range(6))
def test_a_data_file_gives_its_prompts_or_one_line(tmp_path: Path, batch: int) -> None:
    outcomes = {"measured": 0, "refused": 0}
    for number in range(batch, CASES, 6):
        outcomes[check(tmp_path, make(number))] += 1
    assert outcomes["measured"] >= sum(outcomes.values()) // 4


def check(directory: Path, case: Case) -> str:
    """What came of a case."""
    path = directory / case.name
    path.write_bytes(case.content)
    layout = "alpaca" if case.form == "text" else case.form
    columns = {key: name for key, name in COLUMNS[case.form].items()
               if not (case.name.endswith("csv") and key == "history")}  # fmt: skip
    config = Config(
        model_name_or_path="-", dataset=(str(path),), formatting=layout, columns=columns
    )
    try:
        probes = load_probes(config, TOKENIZER)
    except ProbeError as error:
        message = str(error)
        assert "\n" not in message, (case, message)
        assert case.name in message, (case, message)
        assert len(message) < 1000, (case, message)
        if not case.damaged:
            refusal_is_right(case, message)
        return "refused"
    assert all(probe.token_ids for probe in probes.probes), case
    if not case.damaged:
        prompts = [expected(case, row) for row in case.rows]
        kept = [(row, text) for row, text in enumerate(prompts) if text is not None]
        read = [(probe.row, probe.text) for probe in probes.probes]
        assert read == kept, (case, probes.dropped, first_difference(kept, read))
        assert len(read) + sum(probes.dropped.values()) == len(case.rows), case
    return "measured"


def refusal_is_right(case: Case, message: str) -> None:
    """A file that is as it was written is refused for a reason."""
    missing = set(COLUMNS[case.form].values()) - {key for row in case.rows for key in row}
    if "has no column" in message:
        assert missing - {"history"} or "history" in message, (case, message)
    elif "no prompt is left" in message:
        assert not any(expected(case, row) for row in case.rows), (case, message)
    else:  # columns whose rows are of different types, which no table can hold
        assert "cannot be read" in message, (case, message)
        assert of_mixed_types(case.rows), (case, message)


def of_mixed_types(rows: list[Any]) -> bool:
    """Whether some values that should be alike are not."""
    if not all(rows):  # nor can it hold rows without columns
        return True
    types: dict[str, set[str]] = {}

    def visit(value: Any, name: str) -> None:
        if value is not None:
            types.setdefault(name, set()).add(type(value).__name__)
        entries = value.items() if isinstance(value, dict) else ()
        for key, entry in entries:
            visit(entry, f"{name}.{key}")
        for entry in value if isinstance(value, list) else ():
            visit(entry, f"{name}[]")

    for row in rows:
        visit(row, "")
    return any(len(kinds - {"int"}) > 1 or kinds >= {"int", "str"} for kinds in types.values())
