"""Data sets: where they are found, how they are read, and which rows are taken."""

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

ROWS = [{"instruction": f"q{i}", "input": "", "output": ""} for i in range(10)]


def load(directory: Path, dataset: Any, **keys: Any) -> Probes:
    """The probes of a data set, looked up from ``directory``."""
    keys.setdefault("dataset_dir", str(directory))
    config = Config(model_name_or_path="-", dataset=dataset, started_in=directory, **keys)
    return load_probes(config, character_tokenizer())


def questions(probes: Probes) -> list[str]:
    return [
        p.text.removeprefix("<bos><|user|>").removesuffix("<|assistant|>") for p in probes.probes
    ]


def places(probes: Probes) -> list[tuple[str, int]]:
    return [(probe.source, probe.row) for probe in probes.probes]


def refusal(directory: Path, dataset: Any, **keys: Any) -> str:
    with pytest.raises(ProbeError) as caught:
        load(directory, dataset, **keys)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with two data sets of ten rows, and their dataset_info.json."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.json").write_text(json.dumps(ROWS))
    info = {name: {"file_name": f"{name}.json"} for name in ("one", "two")}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    return tmp_path


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", ["one,two", "one, two", ["one", "two"]])
def test_several_data_sets(data: Path, dataset: Any) -> None:
    probes = load(data, dataset, max_samples=2)
    assert places(probes) == [("one", 0), ("one", 1), ("two", 0), ("two", 1)]
    rows = probes.describe()["rows"]
    assert [(row["dataset"], row["row"]) for row in rows] == places(probes)


def test_a_file_can_be_named_directly(data: Path) -> None:
    assert len(load(data, str(data / "one.json"), dataset_dir="none").probes) == 10
    assert len(load(data, "one.json", dataset_dir="none").probes) == 10
    (data / "inner").mkdir()
    assert len(load(data / "inner", "one.json", dataset_dir=str(data)).probes) == 10


def test_the_entry_comes_before_the_file_of_the_same_name(data: Path) -> None:
    (data / "one").write_text("no data")
    assert len(load(data, "one").probes) == 10


@pytest.mark.parametrize("dataset", ["thre", "./three.json", "a/b/c"])
def test_a_data_set_that_is_not_there_is_never_replaced_by_another(
    data: Path, dataset: str
) -> None:
    message = refusal(data, dataset)
    assert message.startswith(f"dataset: {dataset} is neither an entry of {data}/dataset_info.json")
    assert "(one, two), nor a file or folder, nor a hub id" in message


def test_without_dataset_info_a_name_may_be_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("some/set", "set"):
        message = refusal(tmp_path, name)
        assert f"dataset: {name}: is no file or folder here" in message
        assert "forbidden by HF_HUB_OFFLINE" in message
    assert "there is none in dataset_dir" in refusal(tmp_path, "./set")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forbids to ask the hub."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.usefixtures("offline")
def test_a_dataset_dir_that_is_missing_is_said_to_be_before_the_hub_is_asked(
    tmp_path: Path,
) -> None:
    missing = f"dataset_dir: there is no folder {{}} in {tmp_path}"
    message = refusal(tmp_path, "alpaca_en", dataset_dir="saves/data")
    assert message == (
        f"dataset: alpaca_en: {missing.format('saves/data')}, and alpaca_en is no file or folder "
        "either"
    )
    # names with a slash, and those of a config that names no folder, may be on the hub
    message = refusal(tmp_path, "some/set", dataset_dir="saves/data")
    assert message.startswith(f"dataset: some/set: {missing.format('saves/data')}; it is no file")
    message = refusal(tmp_path, "set", dataset_dir="data")
    assert message.startswith(f"dataset: set: {missing.format('data')}; it is no file")
    message = refusal(tmp_path, "set", dataset_dir=str(tmp_path / "gone"))
    assert f"there is no folder {tmp_path / 'gone'}, and" in message


@pytest.mark.usefixtures("offline")
def test_what_the_trainer_means_by_a_dataset_dir_that_is_none(tmp_path: Path) -> None:
    message = refusal(tmp_path, "set", dataset_dir="ONLINE")
    assert message.startswith("dataset: set: is no file or folder here, and cannot be had from")
    message = refusal(tmp_path, "set", dataset_dir="REMOTE:some/set")
    assert message.startswith("dataset_dir: REMOTE:some/set is a description on the hub, which is")
    (tmp_path / "file").touch()
    assert refusal(tmp_path, "set", dataset_dir="file").endswith(
        "is a file, but a folder is needed"
    )


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("a", "'a' is not a mapping"),
        ({}, "names neither file_name nor hf_hub_url"),
        ({"file_name": 3}, "file_name: 3 is not text"),
        ({"file_name": "none.json"}, "none.json: there is no such file or folder"),
        ({"file_name": "a\0b"}, "there is no such file"),
        ({"script_url": "x.py"}, "script_url is a loading script, which would run its code"),
        ({"ms_hub_url": "a/b"}, "ms_hub_url is the ModelScope hub"),
        ({"hf_hub_url": "../b"}, "hf_hub_url: '../b' is not the id of a data set"),
        ({"file_name": "one.json", "formatting": "xml"}, "'xml' is not one of alpaca, sharegpt"),
        ({"file_name": "one.json", "formatting": ["xml"]}, "is not one of alpaca, sharegpt"),
        ({"file_name": "one.json", "columns": ["a"]}, "columns: ['a'] is not a mapping"),
        ({"file_name": "one.json", "columns": {"prompt": 1}}, "columns: prompt: 1 is not text"),
        ({"file_name": "one.json", "columns": {"response": "output"}}, "need prompt or query"),
        ({"file_name": "one.json", "columns": {"prompt": "no"}}, "has no column no; it has inst"),
        (
            {"file_name": "one.json", "formatting": "sharegpt", "columns": {"system": "s"}},
            "sharegpt rows need messages",
        ),
        (
            {"file_name": "one.json", "formatting": "sharegpt", "tags": {"role_tag": "role"}},
            "tags: content_tag, user_tag left out, which means none",
        ),
        ({"file_name": "one.json", "formatting": "sharegpt"}, "has no column conversations"),
        ({"file_name": "one.json", "num_samples": 0}, "num_samples: 0 is out of range"),
        ({"file_name": "one.json", "split": 3}, "split: 3 is not text"),
    ],
)
def test_bad_entries_are_refused(data: Path, entry: Any, words: str) -> None:
    (data / "dataset_info.json").write_text(json.dumps({"bad": entry}))
    assert words in refusal(data, "bad")


@pytest.mark.parametrize("content", [b"{", b"[]", b"3", b"\xff\xfe\xff", b""])
def test_a_bad_dataset_info_is_refused(data: Path, content: bytes) -> None:
    (data / "dataset_info.json").write_bytes(content)
    assert refusal(data, "one").startswith(f"{data}/dataset_info.json: ")


def test_columns_we_do_not_use_are_none_of_our_business(data: Path) -> None:
    columns = {"prompt": "instruction", "images": "pictures", "kto_tag": "label"}
    info = {"one": {"file_name": "one.json", "columns": columns, "extra": [1]}}
    (data / "dataset_info.json").write_text(json.dumps(info))
    assert len(load(data, "one").probes) == 10


def test_the_config_overrules_the_entry(data: Path) -> None:
    info = {"one": {"file_name": "one.json", "formatting": "sharegpt", "num_samples": 3}}
    (data / "dataset_info.json").write_text(json.dumps(info))
    probes = load(
        data, "one", formatting="alpaca", columns={"prompt": "instruction"}, num_samples=5
    )
    assert len(probes.probes) == 5


# --- files -------------------------------------------------------------------------------------


def write_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Writes rows in the format of the path's suffix."""
    from datasets import Dataset

    table = Dataset.from_list(rows)
    if path.suffix == ".arrow":
        import pyarrow

        with pyarrow.OSFile(str(path), "wb") as sink:
            arrow = table.data.table
            with pyarrow.ipc.new_stream(sink, arrow.schema) as writer:
                writer.write_table(arrow)
    elif path.suffix == ".parquet":
        table.to_parquet(str(path))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        lines = ["instruction,input", *(f"{row['instruction']},{row['input']}" for row in rows)]
        path.write_text("\n".join(lines))
    elif path.suffix == ".txt":
        path.write_text("".join(f"{row['instruction']}\n" for row in rows))
    else:
        path.write_text(json.dumps(rows))
    return path


SUFFIXES = ["json", "jsonl", "csv", "parquet", "arrow", "txt"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files(tmp_path: Path, suffix: str) -> None:
    path = write_table(tmp_path / f"rows.{suffix}", ROWS)
    assert questions(load(tmp_path, str(path))) == [f"q{i}" for i in range(10)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_folders(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    write_table(folder / f"a.{suffix}", ROWS[:4])
    write_table(folder / f"b.{suffix}", ROWS[4:])
    (folder / "README.md").write_text("about")
    (folder / ".hidden.json").write_text("no data")
    columns = {"prompt": "text" if suffix == "txt" else "instruction"}
    probes = load(tmp_path, str(folder), columns=columns)
    assert questions(probes) == [f"q{i}" for i in range(10)]


def test_a_compressed_file(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)))
    assert len(load(tmp_path, str(path)).probes) == 10


def test_cells_of_a_csv_file_are_text_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("instruction,input\n1,007\nNone,\nNA,2\n")
    assert questions(load(tmp_path, str(path))) == ["1\n007", "None", "NA\n2"]


def test_what_datasets_has_saved_to_disk(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "one"))
    assert len(load(tmp_path, "one").probes) == 10
    DatasetDict({"test": Dataset.from_list(ROWS[:3])}).save_to_disk(str(tmp_path / "two"))
    assert len(load(tmp_path, "two", split="test").probes) == 3
    assert "two cannot be read" in refusal(tmp_path, "two")


def test_splits_of_a_folder_are_told_by_its_files_names(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    write_table(folder / "train.json", ROWS[:4])
    write_table(folder / "test-00000-of-00001.json", ROWS[4:6])
    assert questions(load(tmp_path, "rows")) == ["q0", "q1", "q2", "q3"]
    assert questions(load(tmp_path, "rows", split="test")) == ["q4", "q5"]
    assert questions(load(tmp_path, "rows", split="train[:2]")) == ["q0", "q1"]
    message = refusal(tmp_path, "rows", split="validation")
    assert "has no split validation: it holds test-00000-of-00001.json, train.json" in message


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rows.json", "[{", "cannot be read"),
        ("rows.json", "[]", "holds no rows"),
        ("rows.json", "", "holds no rows"),
        ("rows.json", "3", "cannot be read"),
        ("rows.json", "null", "row 0, None, is no object"),
        ("rows.jsonl", ' null\n{"instruction": "a"}', "row 0, None, is no object"),
        ("rows.json", '[null, {"instruction": "a"}]', "row 0, None, is no object"),
        ("rows.json", '[{"instruction": "a"},\n{"instruction" 3}]', "line 2, column 16: Expecting"),
        ("rows.jsonl", '{"instruction": "a"}\n{"instr', "line 2, column 2: Unterminated string"),
        ("rows.json", '[{"instruction": "a"}', "line 1, column 22: a comma or ] is missing"),
        ("rows.json", '[{"instruction": "a"},\n', "the file ends within the array of its rows"),
        ("rows.json", '[{"instruction": "a"}]\n[', "line 2, column 1: more follows after the arr"),
        ("rows.json", "[" * 9999, "is nested too deeply"),
        ("rows.json", f'[{{"instruction": {"9" * 9999}}}]', "line 1, column 2: Exceeds the limit"),
        ("rows.jsonl", '{"instruction": "a"}\n["b"]', "row 1, ['b'], is no object"),
        ("rows.parquet", "no parquet", "cannot be read"),
        ("rows.arrow", "no arrow", "cannot be read"),
        ("rows.pkl", "no", "must hold files of one kind: json, jsonl, csv, parquet, arrow, txt"),
        ("rows", "no", "must hold files of one kind"),
        ("rows.json", '[{"question": "q"}]', "has no column instruction; it has question"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content)
    message = refusal(tmp_path, name)
    assert message.startswith(f"dataset: {name}: ")
    assert words in message


def test_bad_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    assert "holds no data" in refusal(tmp_path, "rows")
    (tmp_path / "rows" / "rows.py").write_text("raise SystemExit")
    assert "holds no data" in refusal(tmp_path, "rows")
    write_table(tmp_path / "rows" / "a.json", ROWS)
    write_table(tmp_path / "rows" / "b.csv", ROWS)
    assert "must hold files of one kind" in refusal(tmp_path, "rows")


# --- rows --------------------------------------------------------------------------------------


def test_max_samples_is_the_first_rows_of_each(data: Path) -> None:
    assert places(load(data, "one", max_samples=3)) == [("one", 0), ("one", 1), ("one", 2)]
    assert len(load(data, "one", max_samples=99).probes) == 10


def test_num_samples_is_a_random_sample_that_the_seed_decides(data: Path) -> None:
    first = places(load(data, "one", num_samples=4))
    assert first == places(load(data, "one", num_samples=4))
    assert first == sorted(set(first))
    assert len(first) == 4
    assert len({tuple(places(load(data, "one", num_samples=4, seed=s))) for s in range(6)}) > 1
    assert len(load(data, "one", num_samples=99).probes) == 10
    assert places(load(data, "one", num_samples=4, max_samples=2)) == first[:2]


def test_row_numbers_are_those_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(
        json.dumps([{"instruction": "a", "output": None}, *ROWS[:2]])
    )
    assert places(load(tmp_path, "rows.json")) == [("rows.json", 1), ("rows.json", 2)]


def prompts_of(directory: Path, content: str, **keys: Any) -> list[str]:
    (directory / "rows.json").write_text(content)
    return questions(load(directory, "rows.json", **keys))


@pytest.mark.parametrize("lines", [True, False])
def test_json_rows_are_taken_as_they_are_written(tmp_path: Path, lines: bool) -> None:
    """Text that looks like a number stays text; rows may differ in type and in what they have."""
    rows = [
        {"instruction": "0012", "output": "4"},
        {"instruction": "1e5", "output": "5", "more": {"a": 1}},
        {"instruction": 3, "output": "2024-01-01", "input": ["no text"]},
        {"instruction": 3, "output": "2024-01-01", "more": ["b"]},
        {"instruction": "q"},
    ]
    content = "\n\n".join(map(json.dumps, rows)) if lines else json.dumps(rows, indent=2)
    assert prompts_of(tmp_path, content) == ["0012", "1e5", "3"]
    probes = load(tmp_path, "rows.json")
    assert probes.dropped == {"with other contents than text": 1, "without an answer": 1}


def test_an_escaped_pair_of_surrogates_is_one_character(tmp_path: Path) -> None:
    row = '{"instruction": "\\ud83d\\ude00 \\ud83d!"}'
    assert prompts_of(tmp_path, row) == ["\U0001f600 ?!"]  # half of one is none


def test_what_json_files_also_hold(tmp_path: Path) -> None:
    assert prompts_of(tmp_path, '\ufeff{"instruction":\n"a", "input": NaN}') == ["a"]
    assert prompts_of(tmp_path, '{"instruction": "a"} {"instruction": "b"}\r\n') == ["a", "b"]
    assert prompts_of(tmp_path, '{"instruction": "a\u2028b"}\n') == ["a\u2028b"]


def test_a_split_of_json_rows(data: Path) -> None:
    assert questions(load(data, "one", split="train[:20%]")) == ["q0", "q1"]
    assert questions(load(data, "one", split="train[8:]+train[:1]")) == ["q8", "q9", "q0"]
    assert "cannot be read" in refusal(data, "one", split="train[:1")


def test_tools_are_described_as_the_row_describes_them(tmp_path: Path) -> None:
    """With nothing of what another row says of its own."""
    tools = [{"name": "f", "parameters": {"x": 1}}], [{"name": "g", "strict": True}]
    rows = [{"instruction": "q", "tools": each} for each in tools]
    columns = {"prompt": "instruction", "tools": "tools"}
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    probes = load(tmp_path, "rows.json", columns=columns)
    assert [p.text for p in probes.probes] == [
        f"<bos><|system|>{json.dumps(each)}<|user|>q<|assistant|>" for each in tools
    ]
