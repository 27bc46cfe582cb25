"""Any rows and any description of them give probes or one line, and good ones are never refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from pytest_linearity.config.config import COLUMNS, FORMATTINGS, TAGS, Config
from pytest_linearity.errors import ProbeError
from pytest_linearity.probes.load import load_probes
from pytest_linearity.probes.probe import Probes
from tests.support.checkpoints import character_tokenizer

TOKENIZER = character_tokenizer()

relaxed = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
short = st.text(max_size=6)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | short,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(short, inner, max_size=3),
    max_leaves=6,
)
roles = st.sampled_from(["human", "gpt", "system", "observation", "function_call", "user", "tool"])
turns = st.lists(
    st.fixed_dictionaries({"from": roles, "value": short | anything})
    | st.fixed_dictionaries({"role": roles, "content": short | anything})
    | anything,
    max_size=4,
)
names = st.sampled_from(["instruction", "input", "history", "conversations", "messages", "system"])
rows = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "instruction": short | anything,
            "input": short | anything,
            "history": st.lists(st.tuples(short, short), max_size=2) | anything,
            "conversations": turns,
            "messages": turns,
            "tools": short | anything,
        },
    ),
    max_size=4,
)
entries = st.fixed_dictionaries(
    {"file_name": st.just("rows.json")},
    optional={
        "formatting": st.sampled_from(FORMATTINGS) | anything,
        "columns": st.dictionaries(st.sampled_from(COLUMNS), names, max_size=4) | anything,
        "tags": st.dictionaries(st.sampled_from(TAGS), roles, max_size=4) | anything,
        "ranking": anything,
        "subset": anything,
        "split": st.just("train") | anything,
        "num_samples": st.integers(1, 9) | anything,
    },
)


def load(directory: Path, info: Any, content: Any) -> Probes:
    """The probes of what was generated."""
    (directory / "dataset_info.json").write_text(json.dumps(info))
    (directory / "rows.json").write_text(json.dumps(content))
    config = Config(model_name_or_path="-", dataset=("rows",), dataset_dir=str(directory))
    return load_probes(config, TOKENIZER)


def check(directory: Path, info: Any, content: Any) -> None:
    """What was generated gives probes or one line."""
    problem = ""
    try:
        probes = load(directory, info, content)
        json.dumps(probes.describe(), allow_nan=False)
        assert all(probe.token_ids for probe in probes.probes)
        assert len(probes.batches) >= 1
    except ProbeError as error:
        problem = str(error)
    assert "\n" not in problem


@relaxed
@given(entry=entries, content=rows)
def test_no_rows_give_a_traceback(tmp_path: Path, entry: Any, content: Any) -> None:
    check(tmp_path, {"rows": entry}, content)


@relaxed
@given(content=anything)
def test_no_data_file_gives_a_traceback(tmp_path: Path, content: Any) -> None:
    check(tmp_path, {"rows": {"file_name": "rows.json"}}, content)


@relaxed
@given(info=st.dictionaries(st.just("rows"), entries | anything) | anything)
def test_no_dataset_info_gives_a_traceback(tmp_path: Path, info: Any) -> None:
    check(tmp_path, info, [{"instruction": "a", "conversations": [], "messages": []}])


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(str.strip)
alpaca = st.fixed_dictionaries(
    {
        "instruction": words,
        "input": words | st.just(""),
        "output": words,
        "system": words | st.just(""),
        "history": st.lists(st.tuples(words, words), max_size=2),
    }
)
exchanges = st.lists(
    st.tuples(st.sampled_from(["human", "observation"]), words, words), min_size=1, max_size=3
)


@relaxed
@given(content=st.lists(alpaca, min_size=1, max_size=3))
def test_good_alpaca_rows_are_never_refused(tmp_path: Path, content: Any) -> None:
    columns = {"prompt": "instruction", "query": "input", "response": "output"}
    columns |= {"system": "system", "history": "history"}
    probes = load(tmp_path, {"rows": {"file_name": "rows.json", "columns": columns}}, content)
    assert [probe.row for probe in probes.probes] == list(range(len(content)))
    for probe, row in zip(probes.probes, content, strict=True):
        said = [row["system"], *(text for pair in row["history"] for text in pair)]
        assert in_order(probe.text, [*said, row["instruction"], row["input"]])
        assert probe.text.endswith("<|assistant|>")


@relaxed
@given(content=st.lists(exchanges, min_size=1, max_size=3))
def test_good_sharegpt_rows_are_never_refused(tmp_path: Path, content: Any) -> None:
    written = [
        {
            "conversations": [
                {"from": role, "value": text}
                for asker, asked, answered in talk
                for role, text in ((asker, asked), ("gpt", answered))
            ]
        }
        for talk in content
    ]
    info = {"rows": {"file_name": "rows.json", "formatting": "sharegpt"}}
    probes = load(tmp_path, info, written)
    assert [probe.row for probe in probes.probes] == list(range(len(content)))
    for probe, talk in zip(probes.probes, content, strict=True):
        said = [text for _, asked, answered in talk for text in (asked, answered)]
        assert in_order(probe.text, said[:-1])


def in_order(text: str, parts: list[str]) -> bool:
    """Whether the parts follow each other in a text."""
    place = 0
    for part in parts:
        place = text.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return True


def test_the_tokenizer_is_as_the_hand_written_ids_have_it() -> None:
    assert isinstance(TOKENIZER, PreTrainedTokenizerBase)
    assert TOKENIZER("<|user|>aA1\n")["input_ids"] == [1, 5, 73, 41, 25, 7]
